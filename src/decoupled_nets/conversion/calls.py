"""The calls that upsample, in one run of a network: whose they are, what they do, what could guide them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from ..ops.decoupled.functional import respond
from ..ops.dynamic.functional import ddf
from .answers import interpolation
from .copies import cloned, is_out_of_memory, to_run, unnoticed
from .engine import evaluating
from .maps import Seen, is_map, tensors_in

_WEIGHED = {
    F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d, F.linear,
    F.multi_head_attention_forward, respond, ddf,
}  # fmt: skip
_POOLS = {F.adaptive_avg_pool2d, F.adaptive_max_pool2d}
_RECORDED = {
    F.interpolate: "interpolate",
    F.conv_transpose2d: "ConvTranspose2d",
    F.pixel_shuffle: "PixelShuffle",
}


@dataclass(eq=False)
class Call:
    """One call.

    Attributes:
        kind: ``"interpolate"``, ``"ConvTranspose2d"`` or ``"PixelShuffle"``.
        mode: of the interpolation.
        before: the shape of what it takes.
        after: the shape of what it gives.
        dtype: of what it takes.
        device: likewise.
        aligned: whether it interpolates between corners (``align_corners``).
        guide: channels of the map of the wanted size that its module saw last before, or None.
        pooled: whether it takes what its module has pooled to a fixed size.
        fixed: whether it takes something that does not depend on the network's input.
        last: whether the output follows from it without a further layer with weights.
    """

    kind: str
    mode: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    aligned: bool = False
    guide: int | None = None
    pooled: bool = False
    fixed: bool = False
    last: bool = False

    @property
    def form(self) -> tuple[Any, ...]:
        """What has to be the same in every run."""
        return self.kind, self.mode, len(self.before), self.before[1:2], self.guide


@dataclass(eq=False)
class _Pooling:
    """One pooling to a fixed size."""

    size: tuple[int, ...]


@dataclass(frozen=True)
class _Past:
    """What a tensor follows from.

    Attributes:
        calls: those from which it follows without a further layer with weights.
        poolings: whatever came between.
        fixed: from parameters alone.
    """

    calls: frozenset[Call] = frozenset()
    poolings: frozenset[_Pooling] = frozenset()
    fixed: bool = False


@dataclass
class Visit:
    """One run of a module: its own calls, and all those in it, which those of modules inside are among."""

    module: nn.Module
    seen: Seen
    own: list[Call] = field(default_factory=list)
    visible: list[Call] = field(default_factory=list)
    poolings: set[_Pooling] = field(default_factory=set)


class _Recorder(TorchFunctionMode):
    """Notes the calls, and which tensors come from which of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[Visit] = []
        self.done: dict[nn.Module, list[Visit]] = {}
        # By identity, and without keeping them: a network's maps together may be more than its memory.
        self.pasts = WeakTensorKeyDictionary()

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A module starts to run."""
        seen = Seen()
        for tensor in tensors_in((args, kwargs)):
            seen.add(_outline(tensor))
        self.stack.append(Visit(module, seen))

    def leave(self, module: nn.Module, *_: Any) -> None:
        """It has run."""
        visit = self.stack.pop()
        visit.seen = Seen()
        self.done.setdefault(module, []).append(visit)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        sources = list(tensors_in((args, kwargs)))
        call = self._noted(func, args, kwargs, sources, result) if func in _RECORDED else None
        if call is None or func is not F.interpolate:
            outline = _outline(result)
            for visit in self.stack:
                visit.seen.add(outline)
        pooling = _Pooling(tuple(result.shape[2:])) if func in _POOLS else None
        if pooling is not None:
            for visit in self.stack:
                visit.poolings.add(pooling)
        self._follow(func, sources, result, call, pooling)
        return result

    def _noted(
        self, func: Callable[..., Any], args: Any, kwargs: Any, sources: list[Tensor], result: Tensor
    ) -> Call | None:
        if not self.stack or not sources:
            return None
        owner, kind = self.stack[-1], _RECORDED[func]
        input, mode, aligned = sources[0], "", False
        if func is F.interpolate:
            input, _, _, mode, aligned = interpolation(*args, **kwargs)
        call = Call(kind, mode, tuple(input.shape), tuple(result.shape), input.dtype, input.device, aligned)
        if is_map(input) and func is F.interpolate:
            found = owner.seen.last(result.shape[2:], len(input))
            call.guide = None if found is None else found.shape[1]
        past = self._past(input)
        call.pooled = any(p.size == tuple(input.shape[2:]) for p in past.poolings & owner.poolings)
        call.fixed = past.fixed
        owner.own.append(call)
        if func is F.interpolate:
            for visit in self.stack:
                visit.visible.append(call)
        return call

    def _past(self, tensor: Tensor) -> _Past:
        known: _Past = self.pasts.get(tensor, _Past())
        return replace(known, fixed=True) if isinstance(tensor, nn.Parameter) else known

    def _follow(
        self, func: Any, sources: list[Tensor], result: Any, call: Call | None, pooling: _Pooling | None
    ) -> None:
        """What the results follow from."""
        pasts = [self._past(tensor) for tensor in sources]
        poolings = frozenset({pooling} if pooling is not None else ()).union(*(p.poolings for p in pasts))
        calls = frozenset({call} if call is not None else ())
        if func not in _WEIGHED:
            calls = calls.union(*(p.calls for p in pasts))
        fixed = bool(pasts) and all(p.fixed for p in pasts)
        given = list(tensors_in(result))
        if getattr(func, "__name__", "") == "__setitem__":
            given, fixed = sources[:1], False
        for tensor in given:
            self.pasts[tensor] = _Past(calls, poolings, fixed)


def _outline(value: Any) -> Any:
    """A map without memory: its shape is all that is asked of a guidance here."""
    return torch.empty(value.shape, dtype=value.dtype, device="meta") if is_map(value) else None


def record(model: nn.Module, example_input: Any) -> dict[nn.Module, list[Visit]]:
    """The runs of the modules that make calls, by module, while the network runs once.

    The network runs in evaluation mode, on a copy if it can be copied, without gradients.

    Raises:
        ValueError: it fails on the example.
    """
    recorder = _Recorder()
    with to_run(model) as (copy, originals):
        out = _recorded(copy, recorder, example_input)
    for tensor in _tensors_of(out):
        for call in recorder.pasts.get(tensor, _Past()).calls:
            call.last = True
    return {originals[m]: visits for m, visits in recorder.done.items() if any(v.own for v in visits)}


def _recorded(network: nn.Module, recorder: _Recorder, example_input: Any) -> Any:
    """What a network gives."""
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    hooks: list[Any] = []
    try:
        for module in dict.fromkeys(network.modules()):
            hooks.append(module.register_forward_pre_hook(recorder.enter, with_kwargs=True, prepend=True))
            hooks.append(module.register_forward_hook(recorder.leave, always_call=True))
        with evaluating(network), unnoticed(device), torch.no_grad(), recorder:
            return network(*tree_map_only(Tensor, cloned, inputs))
    except Exception as error:  # whatever a network's code does with an input that is not its own
        if is_out_of_memory(error):
            raise
        raise ValueError(
            f"example_input received, on which the network fails ({type(error).__name__}: {error}); needed: "
            "an input that it takes, or a tuple of all its inputs"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _tensors_of(out: Any) -> Iterable[Tensor]:
    """Tensors in what a network gives; an object's attributes, too."""
    leaves = tree_leaves(out)
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            yield leaf
        elif hasattr(leaf, "__dict__"):
            yield from tensors_in(vars(leaf))
