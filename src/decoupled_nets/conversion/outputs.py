"""One run of a network, on a copy without memory where that is possible, to find what gives its outputs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_map

from .copies import bare_copy, checkpoints_seen_through, cloned, on_meta, unnoticed
from .graph import LAYERS, Run

_SIZES: dict[int, list[tuple[int, ...]]] = {
    0: [()],
    1: [(1024,), (4096,), (16384,)],
    2: [(n, n) for n in (64, 128, 224, 256, 299, 384, 512, 32, 28, 48, 96, 16, 8)],
    3: [(16, 64, 64), (32, 64, 64), (64, 64, 64), (16, 112, 112), (16, 224, 224)],
}


@dataclass(frozen=True)
class Outputs:
    """What one run of a network told of its layers.

    Attributes:
        layers: those that give the outputs.
        by_weight: those that are never called, though their weight has a part in the outputs.
        note: what the user is to know of how they were found, or None.
    """

    layers: frozenset[nn.Module]
    by_weight: frozenset[nn.Module] = frozenset()
    note: str | None = None


def find_outputs(model: nn.Module, example_input: Any = None) -> Outputs:
    """The layers that give a network's outputs.

    The network runs on tensors without memory; if its code wants numbers, on a copy. Without an example, the
    input is guessed from the first layer. Where nothing runs, the last layer is taken for the one.
    """
    named = set(_classifier(model))
    last = _last(model)
    if any(is_lazy(p) for p in model.parameters()):  # it cannot run, and will be refused
        return Outputs(frozenset())
    if getattr(type(model), "forward", None) is nn.Module.forward:  # a container, which gives nothing itself
        return Outputs(frozenset(named or [m for m in last if set(getattr(m, "kernel_size", (1,))) == {1}]))
    problems: dict[bool, str] = {}
    for meta, arguments in _attempts(model, example_input):
        try:
            layers, by_weight = _trace(model, arguments, meta)
            return Outputs(frozenset(layers | named), frozenset(by_weight))
        except Exception as error:  # whatever a network's code does with an input that is not its own
            said = textwrap.shorten(str(error), 300, placeholder=" …")
            problems.setdefault(meta, f"{type(error).__name__}: {said}" if said else type(error).__name__)
    # Without memory much else fails; a list of images is tried last, and says little of other networks.
    problem = problems.get(False) or problems.get(True, "")
    told = "" if example_input is not None else "; example_input= would help"
    note = (
        f"outputs could not be traced{f' ({problem})' if problem else ''}: the last layer is taken "
        f"for the one that gives them{told}"
    )
    return Outputs(frozenset(named | set(last)), note=note)


def _classifier(model: Any) -> list[nn.Module]:
    """What a network of timm's kind names as its classifier."""
    if not callable(get := getattr(model, "get_classifier", None)):
        return []
    heads = get()
    heads = heads if isinstance(heads, tuple | list) else [heads]
    return [inner for head in heads if isinstance(head, nn.Module) for inner in head.modules()]


def _last(model: nn.Module) -> list[nn.Module]:
    layers: list[nn.Module] = [m for m in model.modules() if isinstance(m, LAYERS) and m is not model]
    return layers[-1:]


def _attempts(model: nn.Module, example_input: Any) -> Iterator[tuple[bool, tuple[Any, ...]]]:
    """Arguments to run the network with, first those without memory."""
    if example_input is not None:
        given = example_input if isinstance(example_input, tuple) else (example_input,)
        yield from ((meta, given) for meta in (True, False))
        return
    needed = _inputs_needed(model)
    shapes = list(_shapes(model))
    for shape in shapes:
        yield True, (shape,) * needed
    for shape in shapes[:3]:  # in earnest, with one image, and not for long
        one = torch.Size((1, *shape[1:]))
        yield False, (one,) * needed
        if needed == 1:
            yield False, ([one[1:]],)  # detectors take lists of images


def _shapes(model: nn.Module) -> Iterator[torch.Size]:
    """Shapes of batches that may fit the first layer."""
    first: Any = next((m for m in model.modules() if isinstance(m, LAYERS)), None)
    if first is None:
        return
    channels: Any = getattr(first, "in_channels", None) or getattr(first, "in_features", 3)
    spatial = len(getattr(first, "kernel_size", ()))
    own = getattr(model, "image_size", None)  # as transformers know it
    sizes = [(own,) * spatial] if isinstance(own, int) else []
    for size in sizes + _SIZES[spatial]:
        yield torch.Size((2, channels, *size))
    if channels != 3 and spatial == 2:  # the first in the list need not be the first to run
        yield from (torch.Size((2, 3, *size)) for size in _SIZES[spatial])


def _inputs_needed(model: nn.Module) -> int:
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = signature(model.forward).parameters.values()
    except (TypeError, ValueError):  # of compiled code
        return 1
    return max(sum(p.kind in kinds and p.default is p.empty for p in parameters), 1)


def _trace(model: nn.Module, arguments: Any, meta: bool) -> tuple[set[nn.Module], set[nn.Module]]:
    copy, original = bare_copy(model, on_meta if meta else cloned)
    trained = {m for m in model.modules() if any(p.requires_grad for p in m.parameters(recurse=False))}
    fixed = {c for c, m in original.items() if trained and m not in trained and _shifts(m)}
    layers, by_weight = _one_run(copy.eval(), arguments, fixed, meta)
    if meta:  # it costs little, and may use layers that evaluation leaves out
        try:
            also, unseen = _one_run(copy.train(), arguments, fixed, meta)
        except Exception:  # detectors want targets, and so on
            pass
        else:
            layers |= also
            by_weight &= unseen
    return {original[m] for m in layers}, {original[m] for m in by_weight}


def _shifts(layer: Any) -> bool:
    """Whether a layer that is not learned may be a step behind predictions: 1×1, of colours, or a mean."""
    if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) or set(layer.kernel_size) != {1}:
        return False
    return layer.out_channels in (layer.in_channels, 1)


def _one_run(
    copy: nn.Module, arguments: Any, fixed: set[nn.Module], meta: bool
) -> tuple[set[nn.Module], set[nn.Module]]:
    """Layers that give the outputs, and layers used without being called."""
    parameter = next(copy.parameters())
    run = Run(copy)
    with ExitStack() as stack:
        stack.callback(run.close)
        stack.enter_context(checkpoints_seen_through())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(unnoticed(parameter.device))
        # Nothing is kept for a backward pass, which does not come.
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(lambda t: None, lambda t: t))
        inputs = _inputs(arguments, parameter)
        if meta:
            stack.enter_context(torch.device("meta"))
        outputs = copy(*inputs)
    if not run.calls:
        raise ValueError("none of its layers has a gradient")
    return run.predictions(outputs, inputs, fixed), run.used_by_weight(outputs)


def _inputs(arguments: Any, parameter: nn.Parameter) -> Any:
    """Arguments of shapes and tensors as tensors whose way can be followed, on the parameter's device."""
    generator = None if parameter.is_meta else torch.Generator(parameter.device).manual_seed(0)

    def made(leaf: Any) -> Any:
        if isinstance(leaf, torch.Size):
            leaf = torch.rand(leaf, device=parameter.device, dtype=parameter.dtype, generator=generator)
        if not isinstance(leaf, Tensor):
            return leaf
        leaf = leaf.detach().to(parameter.device, copy=True)
        # A clone, as networks may change what they are given, which a leaf would not suffer.
        return leaf.requires_grad_().clone() if leaf.is_floating_point() else leaf

    return tree_map(made, arguments, is_leaf=lambda leaf: isinstance(leaf, torch.Size))
