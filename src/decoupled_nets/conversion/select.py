"""Which layers of a network a conversion takes, and why it leaves the others."""

from __future__ import annotations

import difflib
import fnmatch
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from torch import nn

from .outputs import Outputs

KernelSize = int | tuple[int, ...]
Predicate = Callable[[str, nn.Module], bool]

_NOT_NAMED = "not among the names"
_SHORTCUT = re.compile(r"shortcut|skip|downsample", re.IGNORECASE)
_STAGE = re.compile(r"(?:^|\.)(?:layers?|stages?|blocks?|levels?|features|denseblock|s)[._]?(\d+)(?=[.-]|$)")


@dataclass(frozen=True)
class Select:
    """Which layers to convert; every field narrows or widens the default, which is ``Select()``.

    The default takes convolutions whose kernel is larger than 1 in some dimension, but not those on
    shortcuts, not depth-wise ones and not those that give the network's outputs.

    Args:
        names: a glob or several, such as ``"layer3.*"``; a name stands for everything in it, too.
        kernel_size: a size (3, or (1, 7)), a list of sizes, or ``"any"``; None takes all but 1×1. Linear
            layers have none and are not asked.
        stages: a number or several, as the network's own names have them: 3 is in ``layer3``, ``stages.3``,
            ``blocks.3``, ``features.3`` or ``denseblock3``; the outermost number counts.
        shortcuts: take those whose name says shortcut, skip or downsample.
        depthwise: take those with as many groups as channels.
        outputs: take the layers that give the outputs: logits, the maps of a dense network, the scores and
            boxes of a detector. What they give would be bounded.
        classifier: the same, by an older name.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> model = torch.nn.Sequential(*[torch.nn.Conv2d(3, 3, size) for size in (3, 5, 5)])
        >>> report = dn.convert(model, "ball-cos", select=dn.Select(kernel_size=5))
        >>> [fate.name for fate in report.converted]
        ['1']
        >>> [fate.reason for fate in report.left]
        ['of another kernel size', 'gives the outputs']
    """

    names: str | Sequence[str] | None = None
    kernel_size: KernelSize | list[KernelSize] | Literal["any"] | None = None
    stages: int | Sequence[int] | None = None
    shortcuts: bool = False
    depthwise: bool = False
    classifier: bool = False
    outputs: bool = False


Selection = Select | str | Sequence[str] | Predicate | None
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Selector(Protocol):
    """Why a layer of those names is not selected, or None if it is."""

    def __call__(self, names: tuple[str, ...], module: nn.Module) -> str | None:
        """The reason, or None."""


def selector(
    model: nn.Module,
    selection: Selection,
    outputs: Callable[[], Outputs],
    *,
    default: Select | None = None,
    linear: bool = False,
) -> Selector:
    """What decides which layers of a network are taken.

    Args:
        model: the network.
        selection: what the user asks for; None takes `default`.
        outputs: finds the layers that give the network's outputs, if that is to be known.
        default: of the operator.
        linear: whether linear layers are asked about, too.

    Raises:
        ValueError: a glob, a stage or a kernel size is that of no layer of the network.
        TypeError: `selection` is none of the kinds it can be.
    """
    if selection is None:
        return _Rules(model, default or Select(), outputs)
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
            f"select: {type(selection).__name__} received; needed: a Select, a glob, several globs or a "
            "function of name and module"
        )
    rules = _Rules(model, selection, outputs)
    rules.check((*LAYERS, nn.Linear) if linear else LAYERS)
    return rules


class _Rules:
    """A :class:`Select` on one network."""

    def __init__(self, model: nn.Module, select: Select, outputs: Callable[[], Outputs]) -> None:
        self.model, self.select, self.outputs = model, select, outputs
        self.globs = [select.names] if isinstance(select.names, str) else select.names
        self.stages = None if select.stages is None else _numbers(select.stages, "stages")
        self.sizes = _sizes(select.kernel_size)
        # ConvNeXt and its kin call the step between two stages a downsampling; nothing runs past it.
        self.transitions = {
            inner
            for module in model.modules()
            if isinstance(getattr(module, "downsample", None), nn.Module)
            and isinstance(getattr(module, "blocks", None), nn.Module)
            for inner in cast(nn.Module, module.downsample).modules()
        }

    def check(self, kinds: tuple[type, ...]) -> None:
        """Refuse what is a slip: a glob, stage or kernel size that the network does not have."""
        every = dict(self.model.named_modules(remove_duplicate=False))
        for glob in self.globs or ():
            if not any(matches(name, glob) for name in every):
                close = difflib.get_close_matches(glob, every, n=1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                raise ValueError(
                    f"select: {glob!r} matches no module of the network{hint}; needed: names as "
                    "named_modules() gives them"
                )
        layers = {name: module for name, module in every.items() if isinstance(module, kinds)}
        what = "convolution" if nn.Linear not in kinds else "convolution or linear layer"
        if layers and self.globs and all(self._by_name([name], None) == _NOT_NAMED for name in layers):
            more = "" if nn.Linear in kinds else "; linear=True takes linear layers, too"
            raise ValueError(f"select: there is no {what} in {', '.join(map(repr, self.globs))}{more}")
        found = sorted({stage for name in layers if (stage := stage_of(name)) is not None})
        for stage in self.stages or ():
            if stage not in found:
                has = f"it has {found}" if found else "no name in it has a number of a stage"
                raise ValueError(
                    f"select: stage {stage} received, but {has} with a {what}; needed: a stage it has, or "
                    "names"
                )
        sizes = sorted({tuple(m.kernel_size) for m in layers.values() if isinstance(m, LAYERS)})
        if (
            self.sizes is not None
            and sizes
            and all(self._by_size((), m) for m in layers.values() if isinstance(m, LAYERS))
        ):
            has = ", ".join("×".join(map(str, size)) for size in sizes)
            raise ValueError(
                f"select: kernel_size {self.select.kernel_size} received; needed: one of those it has, {has}"
            )

    def __call__(self, names: tuple[str, ...], module: Any) -> str | None:
        checks = (self._by_name, self._by_size, self._by_role)
        return next((reason for check in checks if (reason := check(names, module))), None)

    def _by_name(self, names: Iterable[str], module: Any) -> str | None:
        if self.globs is not None:
            names = [name for name in names if any(matches(name, glob) for glob in self.globs)]
            if not names:
                return _NOT_NAMED
        if self.stages is not None and not any(stage_of(name) in self.stages for name in names):
            return "in another stage"
        return None

    def _by_size(self, names: Iterable[str], module: Any) -> str | None:
        if isinstance(module, nn.Linear) or "any" in (self.sizes or ()):
            return None
        size = tuple(module.kernel_size)
        if self.sizes is None:
            if set(size) != {1}:
                return None
            return "×".join("1" * len(size)) if len(size) > 1 else "kernel size 1"
        wanted = [(s,) * len(size) if isinstance(s, int) else s for s in self.sizes]
        return None if size in wanted else "of another kernel size"

    def _by_role(self, names: Iterable[str], module: Any) -> str | None:
        if not self.select.depthwise and is_depthwise(module):
            return "depth-wise"
        if not self.select.shortcuts and all(_SHORTCUT.search(name) for name in names):
            return None if module in self.transitions else "on a shortcut"
        if "" in names:  # a layer converted by itself is no network with outputs
            return None
        found = self.outputs()
        if module in found.layers and not (self.select.outputs or self.select.classifier):
            return "gives the outputs"
        return "its weight is used without calling it" if module in found.by_weight else None


def _numbers(value: Any, what: str) -> list[int]:
    """Integers of any kind, NumPy's too."""
    values = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    try:
        return [operator.index(number) for number in values]
    except TypeError:
        raise TypeError(
            f"select: {what} = {value!r} received; needed: a whole number or a list of them"
        ) from None


def _sizes(size: Any) -> list[Any] | None:
    """Kernel sizes that are wanted, or None where no size is named."""
    if size is None:
        return None
    found: list[Any] = []
    for one in size if isinstance(size, list) else [size]:
        if one == "any":
            return ["any"]
        numbers = _numbers(one, "kernel_size")
        found.append(tuple(numbers) if isinstance(one, Iterable) else numbers[0])
    return found


def matches(name: str, glob: str) -> bool:
    """Whether a glob is that of a module, or of one that it is in."""
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
