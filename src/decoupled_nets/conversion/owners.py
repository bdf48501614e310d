"""What becomes of the calls that a module makes: which are answered, by what, and why others are left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..nn import DDFUpsample
from ..nn.upsamplers import is_guided
from ..nn.upsamplers.interpolation import Bilinear
from .answers import CHILD, SHUFFLE, TRANSPOSED, WHOLE, Answer, Plan, put_answers
from .calls import Call, Visit
from .report import Fate

#: An image, a depth, a mask have fewer.
FEW = 8
_SMOOTH = ("bilinear", "bicubic")
_MODES = ("nearest", "nearest-exact", "bilinear", "bicubic")
#: The modules that upsample by themselves, and why they are left.
_LEARNED: dict[str, tuple[type, str]] = {
    "ConvTranspose2d": (TRANSPOSED, "it has learned kernels (transposed=True takes it)"),
    "PixelShuffle": (SHUFFLE, "its channels become pixels (transposed=True takes their mean)"),
}


@dataclass
class Owner:
    """A module that makes calls, and what is to become of them."""

    module: nn.Module
    names: tuple[str, ...]
    visits: list[Visit]
    upsampler: Any
    guided: bool
    transposed: bool

    def __post_init__(self) -> None:
        self.calls = next(visit.own for visit in self.visits if visit.own)
        self.answers: list[Answer | None] = [None] * len(self.calls)
        self._notes: dict[int, str | None] = {}

    @property
    def answered(self) -> list[Call]:
        """The calls that are taken, in all runs of the module."""
        return [c for v in self.visits for c, a in zip(v.own, self.answers, strict=False) if a is not None]

    def fates(self, selected: bool) -> list[Fate]:
        """One for each call."""
        found = []
        for number, call in enumerate(self.calls):
            names = self.names
            if len(self.calls) > 1 or not isinstance(self.module, (nn.Upsample, *WHOLE)):
                names = tuple(f"{name or 'the network'}[{number}]" for name in names)
            was, reason, became = _words(call), self._reason(call, selected), None
            if reason is None:
                reason, became = self._try(number, call)
            found.append(Fate(names, was, became, reason, self._notes.get(number), selected))
        return found

    def _reason(self, call: Call, selected: bool) -> str | None:
        """Why a call is left, or None."""
        scale = scale_of(call)
        if (why := _why_no_map(call)) is not None:
            return why
        if call.last:
            return "gives the outputs"
        if call.fixed:
            return "does not depend on the input"
        if call.pooled or max(call.before[2:]) == 1:
            return f"pooled to {call.before[2]}×{call.before[3]}"
        if scale is None:
            return _fraction(call)
        if not selected:
            return "not among the names"
        return self._why_fixed(call)

    def _why_fixed(self, call: Call) -> str | None:
        """Why the module cannot answer this call, whatever it does, or None."""
        forms = {tuple((*c.form, scale_of(c)) for c in v.own) for v in self.visits}
        if len(forms) > 1:
            return "its module makes other calls from run to run"
        if isinstance(self.module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            return f"{type(self.module).__qualname__} would run what is added to it"
        if isinstance(self.module, torch.jit.ScriptModule):
            return "compiled by torch.jit"
        if "forward" in self.module.__dict__:
            return "its forward was replaced on the object itself"
        if hasattr(self.module, CHILD) or hasattr(self.module, "parametrizations"):
            return f"its module has {CHILD!r} or parametrisations of its own"
        return self._why_whole(call) if call.kind in _LEARNED else _other_channels(call)

    def _why_whole(self, call: Call) -> str | None:
        """Why a module that upsamples by itself is left, or None."""
        kind, words = _LEARNED[call.kind]
        if type(self.module) is not kind:
            return f"its module is no nn.{kind.__name__}"
        if kind is TRANSPOSED and (why := _other_channels(call)) is not None:
            return why
        return None if self.transposed else words

    def _try(self, number: int, call: Call) -> tuple[str | None, str | None]:
        """Build the upsampler without memory, to know what it says and whether it is guided."""
        scale, guide = scale_of(call), call.guide if self.guided else None
        assert scale is not None
        # Dynamic filters can start as what they replace.
        name = "ddf-bilinear" if self.upsampler == "ddf" and call.mode in _SMOOTH else self.upsampler
        try:
            with torch.device("meta"):
                module = Answer(name, call.after[1], scale, guide).build()
        except ValueError as error:
            if guide is None and "guidance" in str(error):
                return "there is no map to guide it", None
            raise
        uses = guide is not None and is_guided(module)
        self.answers[number] = Answer(name, call.after[1], scale, guide if uses else None, call.mode or None)
        self._notes[number] = _note(call, scale, module)
        kind = "DDF" if isinstance(module, DDFUpsample) else type(module).__name__
        return None, f"{kind} {scale}×" + (f", guided ({guide} channels)" if uses else "")

    def plan(self, answered: set[Call]) -> Plan:
        """What answers the calls in a run; those of modules inside are seen here if nothing answers them."""
        visit = next(visit for visit in self.visits if visit.own)
        own = dict(zip(visit.own, self.answers, strict=True))
        if isinstance(self.module, WHOLE):
            calls = list(own)
        else:
            calls = [call for call in visit.visible if call in own or call not in answered]
        return Plan(self.names[0] or "the network", tuple(own.get(call) for call in calls))

    def put(self, answered: set[Call], model: nn.Module) -> None:
        """Let the calls be answered, by upsamplers in the type of the parameters around.

        Not in that of the maps: where a network runs in mixed precision, these have half of it.
        """
        call = self.calls[0]
        around = (p.dtype for part in (self.module, model) for p in part.parameters())
        dtype = next((kind for kind in around if kind.is_floating_point), call.dtype)
        put_answers(self.module, self.plan(answered), call.device, dtype)


def scale_of(call: Call) -> int | None:
    """The whole factor from 2 on by which a call enlarges, the same along both axes; or None."""
    if len(call.before) != 4 or len(call.after) != 4 or 0 in call.before:
        return None
    (height, width), size = call.before[2:], call.after[2:]
    scale = max(round(size[0] / height), round(size[1] / width))
    near = all(abs(n - scale * m) < scale for n, m in zip(size, (height, width), strict=True))
    return scale if near and scale >= 2 else None


def _note(call: Call, scale: int, module: nn.Module) -> str | None:
    """What is lost, or how the network's answers change before it is trained again; or None."""
    if call.kind == "ConvTranspose2d":
        return "its kernels are set aside"
    if call.kind == "PixelShuffle":
        return f"{call.before[1] // call.after[1]} channels become their mean"
    start = module.init if isinstance(module, DDFUpsample) else getattr(module, "start", None)
    notes = ["no longer aligned at the corners"] if call.aligned else []
    uneven = any(now != scale * then for now, then in zip(call.after[2:], call.before[2:], strict=True))
    if isinstance(start, str) and call.mode.removesuffix("-exact") != start:
        notes.append(f"starts {start}")
    elif uneven and call.mode == "nearest-exact":
        notes.append("repeats other pixels at such a size")
    elif uneven and start == "bilinear" and not isinstance(module, Bilinear):
        notes.append("cuts off or continues rows where it rescaled")
    return ", ".join(notes) or None


def _other_channels(call: Call) -> str | None:
    before, after = call.before[1], call.after[1]
    return f"{before} to {after} channels" if before != after else None


def _why_no_map(call: Call) -> str | None:
    if len(call.before) != 4 or not call.dtype.is_floating_point:
        return (
            f"{len(call.before)} dimensions, and a map has 4"
            if len(call.before) != 4
            else "not floating point"
        )
    if call.before[1] < FEW and call.kind == "interpolate":
        return f"{call.before[1]} channel{'s' * (call.before[1] > 1)}: an image or a mask"
    if call.kind == "interpolate" and call.mode not in _MODES:
        return f"mode {call.mode!r}"
    return None


def _fraction(call: Call) -> str:
    height, width = (after / before for before, after in zip(call.before[2:], call.after[2:], strict=True))
    text = f"{height:.3g}×" if abs(height - width) < 0.005 else f"{height:.3g}× and {width:.3g}×"
    return f"scale {text}"


def _words(call: Call) -> str:
    scale = scale_of(call)
    size = f" {scale}×" if scale is not None else ""
    return " ".join(filter(None, (call.kind, call.mode))) + size
