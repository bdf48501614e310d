"""Which layers of a network a conversion takes, and why it leaves the others."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

KernelSize = int | tuple[int, ...]
Predicate = Callable[[str, nn.Module], bool]

_SHORTCUT = re.compile(r"shortcut|skip|downsample", re.IGNORECASE)
_STAGE = re.compile(r"(?:^|\.)(?:layers?|stages?|blocks?|levels?|features|denseblock|s)[._]?(\d+)(?=[.-]|$)")


@dataclass(frozen=True)
class Select:
    """Which layers to convert; every field narrows or widens the default, which is ``Select()``.

    The default takes convolutions whose kernel is larger than 1 in some dimension, but not those on
    shortcuts, not depth-wise ones and not the classifier.

    Args:
        names: a glob or several, such as ``"layer3.*"``; a name stands for everything in it, too.
        kernel_size: a size (3, or (1, 7)), a list of sizes, or ``"any"``; None takes all but 1×1. Linear
            layers have none and are not asked.
        stages: a number or several, as the network's own names have them: 3 is in ``layer3``, ``stages.3``,
            ``blocks.3``, ``features.3`` or ``denseblock3``; the outermost number counts.
        shortcuts: take those whose name says shortcut, skip or downsample.
        depthwise: take those with as many groups as channels.
        classifier: take the layer that gives the logits.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 5))
        >>> report = dn.convert(model, "ball-cos", select=dn.Select(kernel_size=5))
        >>> [fate.name for fate in report.converted]
        ['1']
        >>> report.left[0].reason
        'of another kernel size'
    """

    names: str | Sequence[str] | None = None
    kernel_size: KernelSize | list[KernelSize] | Literal["any"] | None = None
    stages: int | Sequence[int] | None = None
    shortcuts: bool = False
    depthwise: bool = False
    classifier: bool = False


Selection = Select | str | Sequence[str] | Predicate | None
Reason = Callable[[tuple[str, ...], nn.Module], str | None]


def selector(model: nn.Module, selection: Selection) -> Reason:
    """A function that says, of a layer and its names, why it is not selected, or None if it is.

    Raises:
        ValueError: a glob or a stage is in no name of the network.
        TypeError: `selection` is none of the kinds it can be.
    """
    if selection is None:
        selection = Select()
    if not isinstance(selection, Select) and callable(selection):
        predicate = selection
        return lambda names, module: (
            None if any(predicate(name, module) for name in names) else "not selected"
        )
    if isinstance(selection, str) or (
        isinstance(selection, Sequence) and all(isinstance(glob, str) for glob in selection)
    ):
        selection = Select(names=selection)
    if not isinstance(selection, Select):
        raise TypeError(
            f"select: {type(selection).__name__} received; a Select, a glob, several globs or a function "
            "of name and module needed"
        )
    return _Rules(model, selection)


class _Rules:
    """A :class:`Select` on one network."""

    def __init__(self, model: nn.Module, select: Select) -> None:
        self.select = select
        every = [name for name, _ in model.named_modules(remove_duplicate=False)]
        self.globs = [select.names] if isinstance(select.names, str) else select.names
        for glob in self.globs or ():
            if not any(_matches(name, glob) for name in every):
                close = difflib.get_close_matches(glob, every, n=1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                raise ValueError(f"select: {glob!r} matches no module of the network{hint}")
        self.stages = [select.stages] if isinstance(select.stages, int) else select.stages
        found = {stage for name in every if (stage := stage_of(name)) is not None}
        for stage in self.stages or ():
            if stage not in found:
                has = f"it has {sorted(found)}" if found else "no name in it has a number of a stage"
                raise ValueError(f"select: stage {stage} received, but {has}; names select in any network")
        size = select.kernel_size
        self.sizes = size if isinstance(size, list) else [size]
        self.classifiers = set(classifiers(model))
        # ConvNeXt and its kin call the step between two stages a downsampling; nothing runs past it.
        self.transitions = {
            id(module.downsample)
            for module in model.modules()
            if hasattr(module, "downsample") and isinstance(getattr(module, "blocks", None), nn.Module)
        }
        self.on_transition = {
            id(inner)
            for module in model.modules()
            if id(module) in self.transitions
            for inner in module.modules()
        }

    def __call__(self, names: tuple[str, ...], module: Any) -> str | None:
        checks = (self._by_name, self._by_size, self._by_role)
        return next((reason for check in checks if (reason := check(names, module))), None)

    def _by_name(self, names: Iterable[str], module: Any) -> str | None:
        if self.globs is not None:
            names = [name for name in names if any(_matches(name, glob) for glob in self.globs)]
            if not names:
                return "not among the names"
        if self.stages is not None and not any(stage_of(name) in self.stages for name in names):
            return "in another stage"
        return None

    def _by_size(self, names: Iterable[str], module: Any) -> str | None:
        if isinstance(module, nn.Linear) or "any" in self.sizes:
            return None
        size = tuple(module.kernel_size)
        if self.sizes == [None]:
            if set(size) != {1}:
                return None
            return "×".join("1" * len(size)) if len(size) > 1 else "kernel size 1"
        wanted = [(s,) * len(size) if isinstance(s, int) else s for s in self.sizes]
        return None if size in wanted else "of another kernel size"

    def _by_role(self, names: Iterable[str], module: Any) -> str | None:
        if not self.select.depthwise and is_depthwise(module):
            return "depth-wise"
        if not self.select.classifier and module in self.classifiers:
            return "the classifier"
        if self.select.shortcuts or id(module) in self.on_transition:
            return None
        return "on a shortcut" if all(_SHORTCUT.search(name) for name in names) else None


def _matches(name: str, glob: str) -> bool:
    return fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(name, f"{glob}.*")


def stage_of(name: str) -> int | None:
    """The first number in a layer's name that counts stages, or None.

    Example:
        >>> [stage_of(name) for name in ("layer3.0.conv1", "stages.2.blocks.0.conv", "stem.conv")]
        [3, 2, None]
    """
    found = _STAGE.search(name)
    return int(found[1]) if found else None


def is_depthwise(module: Any) -> bool:
    """Whether every channel has kernels of its own."""
    return getattr(module, "groups", 1) > 1 and module.groups == module.in_channels


def classifiers(model: nn.Module) -> list[nn.Module]:
    """The layers that give the logits: what ``get_classifier`` says, or the last linear or 1×1 layer."""
    if callable(get := getattr(model, "get_classifier", None)):
        heads = get()
        heads = heads if isinstance(heads, tuple | list) else [heads]
        return [inner for head in heads if isinstance(head, nn.Module) for inner in head.modules()]
    layers: list[Any] = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    layers = [m for m in layers if m is not model]
    last = layers[-1:]
    return [m for m in last if isinstance(m, nn.Linear) or set(m.kernel_size) == {1}]
