"""Modules whose calls of ``F.interpolate`` are answered by upsamplers of their own.

Networks upsample by a bare function, which nothing can be put in the place of. So the calling module changes
its class, as a converted layer does: to one whose ``forward`` runs the old one and answers the calls in it in
their order. It stays the object it was; the upsamplers are a child of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from ..nn.upsamplers import upsampler
from .maps import Seen, tensors_in

#: Where a module has what answers its calls, and how.
CHILD, PLAN, ASIDE = "upsamplers", "_upsampling", "_plain_parameters"
#: Modules that upsample by themselves, and are answered as a whole.
TRANSPOSED, SHUFFLE = nn.ConvTranspose2d, nn.PixelShuffle
WHOLE = (TRANSPOSED, SHUFFLE)


@dataclass(frozen=True)
class Answer:
    """An upsampler in the place of one call.

    Attributes:
        upsampler: its name, or the function that builds it.
        channels: C of what is upsampled.
        scale_factor: s.
        guidance_channels: of the map that guides it, or None.
        mode: of the interpolation that it stands for, or None where that is not known, or there is none.
    """

    upsampler: Any
    channels: int
    scale_factor: int
    guidance_channels: int | None = None
    mode: str | None = None

    def build(self) -> nn.Module:
        """The upsampler, new."""
        return upsampler(self.upsampler, self.channels, self.scale_factor, self.guidance_channels)


@dataclass(frozen=True)
class Plan:
    """What answers the calls of a module.

    Attributes:
        name: of the module, for messages.
        calls: for each call in a run, in order, the modules inside included: what answers it, or None for
            a call that is left.
    """

    name: str
    calls: tuple[Answer | None, ...]

    @property
    def answers(self) -> list[Answer]:
        """Those that are answered."""
        return [call for call in self.calls if call is not None]


def interpolation(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: Any = None,
    *_: Any, **__: Any,
) -> Any:  # fmt: skip
    """Input, size, factor, mode and whether corners are aligned among the arguments of ``F.interpolate``."""
    return input, size, scale_factor, mode, align_corners is True


class _Answering(TorchFunctionMode):
    """Answers the calls of one run."""

    def __init__(self, module: Any, arguments: Any) -> None:
        super().__init__()
        self.plan: Plan = getattr(module, PLAN)
        self.upsamplers = getattr(module, CHILD)
        self.calls = self.answered = 0
        self.training = module.training
        self.learns = self.training and torch.is_grad_enabled()
        self.checkpoint = _checkpointing()
        self.seen = Seen({a.guidance_channels for a in self.plan.answers if a.guidance_channels})
        if self.seen.channels:
            for tensor in tensors_in(arguments):
                self.seen.add(tensor)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.interpolate:
            result = func(*args, **kwargs)
            if self.seen.channels:
                self.seen.add(result)
            return result
        if self.calls == len(self.plan.calls):
            self.refuse("more than", "")
        call = self.plan.calls[self.calls]
        self.calls += 1
        return func(*args, **kwargs) if call is None else self._answer(call, args, kwargs)

    def _answer(self, call: Answer, args: Any, kwargs: Any) -> Tensor:
        input, size, factor, mode, _ = interpolation(*args, **kwargs)
        size = target_of(input, size, factor)
        self._check_call(call, input, size, mode)
        guidance = None
        if call.guidance_channels is not None:
            guidance = self.seen.last(size, input.shape[0], call.guidance_channels)
            if guidance is None:
                raise ValueError(
                    f"{self.plan.name}: call {self.calls} of F.interpolate has no map of {size[0]}×{size[1]} "
                    f"before it; needed: one of {call.guidance_channels} channels to guide it, as when its "
                    "upsampling was converted"
                )
        module = self.upsamplers[self.answered]
        self.answered += 1
        self._check_gradients(module)
        return _computed(module, call, self.plan.name, input, guidance, size)

    def _check_call(self, call: Answer, input: Tensor, size: tuple[int, int], mode: str) -> None:
        """Refuse a call that was another one when it was recorded: their order may have changed."""
        s, before = call.scale_factor, input.shape[2:]
        if input.shape[1] != call.channels:
            found, wanted = f"with {input.shape[1]} channels", str(call.channels)
        elif any(abs(now - s * then) >= s for now, then in zip(size, before, strict=True)):
            found, wanted = f"from {before[0]}×{before[1]} to {size[0]}×{size[1]}", f"{s}× the size"
        elif call.mode not in (None, mode):
            found, wanted = f"with the mode {mode!r}", repr(call.mode)
        else:
            return
        raise ValueError(
            f"{self.plan.name}: call {self.calls} of F.interpolate {found} received; needed: {wanted}, as "
            "when its upsampling was converted"
        )

    def _check_gradients(self, module: nn.Module) -> None:
        """Refuse what would be run again for its gradients, outside of this run: with plain calls."""
        if torch.is_grad_enabled() and _checkpointing() is not self.checkpoint:
            found = "in a part that is checkpointed"
        elif self.learns and not torch.is_grad_enabled() and _may_learn(module):
            found = "without gradients, in training"
        else:
            return
        raise ValueError(
            f"{self.plan.name}: call {self.calls} received {found}; needed: gradients; a part that is "
            "checkpointed would be run again without its upsampler: checkpoint the whole module, or leave it "
            "out by select="
        )

    def refuse(self, comparison: str, number: Any) -> None:
        """The module does something else than when it was recorded.

        Raises:
            ValueError: always.
        """
        wanted = len(self.plan.calls)
        found = f"{comparison} {wanted}" if comparison else str(number)
        remedy = "convert it with an example input that runs as this one, or leave it out by select="
        if self.training:  # the example ran in evaluation mode
            remedy = "leave it out by select= if it upsamples otherwise in training than in evaluation"
        raise ValueError(
            f"{self.plan.name}: {found} calls of F.interpolate in this run; needed: {wanted}, as when its "
            f"upsampling was converted; {remedy}"
        )


def _may_learn(module: nn.Module) -> bool:
    """Whether gradients are asked of it, or, without parameters, perhaps of what comes before it."""
    return not (own := list(module.parameters())) or any(p.requires_grad for p in own)


def _checkpointing() -> Any:
    """What torch.utils.checkpoint without reentrance does with tensors that are saved now; or None."""
    if torch.compiler.is_compiling():
        return None
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    pack = hooks[0] if hooks else None
    return pack if getattr(pack, "__module__", None) == checkpoint.__name__ else None


def _computed(
    module: Any, answer: Answer, name: str, input: Tensor, guidance: Tensor | None, size: Any
) -> Tensor:
    """What an upsampler makes of a map, which is no call of the modules around."""
    own = next((p.dtype for p in module.parameters()), input.dtype)
    with torch._C.DisableTorchFunction():
        if own == input.dtype or torch.is_autocast_enabled(input.device.type):
            out: Tensor = module(input, guidance, size)
        else:  # interpolation takes maps of any type
            out = module(input.to(own), None if guidance is None else guidance.to(own), size).to(input.dtype)
    if not torch.compiler.is_compiling() and torch._C._get_tracing_state() is None:
        size = size or [answer.scale_factor * n for n in input.shape[-2:]]
        wanted, found = (*input.shape[:-2], *size), tuple(getattr(out, "shape", ()))
        if found != wanted:
            kind = answer.upsampler
            label = kind if isinstance(kind, str) else getattr(kind, "__qualname__", type(kind).__name__)
            raise ValueError(
                f"{name}: {found or type(out).__name__} received from the upsampler {label!r}; needed: "
                f"{wanted}, the shape that is called for; it gets that height and width as its `size`"
            )
    return out


def target_of(input: Tensor, size: Any, factor: Any) -> tuple[int, int]:
    """The size that ``F.interpolate`` would give."""
    if size is not None:
        return (size[0], size[1]) if isinstance(size, list | tuple) else (size, size)
    factors = factor if isinstance(factor, list | tuple) else (factor, factor)
    # A whole number stays one, for compilers that trace sizes.
    rows, columns = (int(f) if f == int(f) else f for f in factors)
    return int(input.shape[2] * rows), int(input.shape[3] * columns)


def _forward(plain: Any) -> Callable[..., Any]:
    if issubclass(plain, WHOLE):

        def whole(self: Any, input: Tensor, output_size: list[int] | None = None) -> Tensor:
            plan: Plan = getattr(self, PLAN)
            size = None if output_size is None else tuple(output_size)[-2:]
            if issubclass(plain, SHUFFLE):
                input = input.unflatten(-3, (-1, self.upscale_factor**2)).mean(-3)
            out = _computed(getattr(self, CHILD)[0], plan.answers[0], plan.name, input, None, size)
            return out.view_as(out)  # a module around may be guided by it, and sees it by this

        return whole

    @functools.wraps(plain.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        answering = _Answering(self, (args, kwargs))
        with answering:
            out = plain.forward(self, *args, **kwargs)
        if answering.calls != len(answering.plan.calls):
            answering.refuse("", answering.calls)
        return out

    return forward


@functools.cache
def answering_class(plain: Any) -> Any:
    """The class that a module of a class takes on."""

    def reduced(self: Any, protocol: Any) -> Any:
        return _blank, (plain,), self.__getstate__()

    names = {
        "__module__": plain.__module__, "__doc__": plain.__doc__, "__reduce_ex__": reduced,
        "forward": _forward(plain), "plain_class": plain,
    }  # fmt: skip
    return type(f"Upsampling{plain.__name__}", (plain,), names)


def _blank(plain: Any) -> Any:
    kind = answering_class(plain)
    return kind.__new__(kind)


def is_answering(module: nn.Module) -> bool:
    """Whether a module's calls are answered."""
    return PLAN in module.__dict__


def put_answers(
    module: Any, plan: Plan, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> None:
    """Let a module's calls be answered, by new upsamplers of that type and on that device."""
    built = nn.ModuleList([answer.build() for answer in plan.answers]).to(device=device, dtype=dtype)
    built.train(module.training)
    kind: Any = type(module)
    if issubclass(kind, TRANSPOSED):
        module.__dict__[ASIDE] = dict(module._parameters)
        module._parameters.clear()
    module.__class__ = answering_class(kind)
    module.__dict__[PLAN] = plan
    module.add_module(CHILD, built)


def take_answers(module: Any) -> None:
    """Make a module again what it was."""
    kind = type(module).plain_class
    del module._modules[CHILD]
    del module.__dict__[PLAN]
    module.__class__ = kind
    module._parameters.update(module.__dict__.pop(ASIDE, {}))
