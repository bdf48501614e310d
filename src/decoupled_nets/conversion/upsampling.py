"""``decoupled_nets.convert_upsampling``."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..nn import DDFUpsample
from ..nn.upsamplers import Builder, is_guided
from .answers import CHILD, SHUFFLE, TRANSPOSED, WHOLE, Answer, Plan, is_answering, put_answers, take_answers
from .calls import Call, Visit, record
from .engine import model_size
from .plan import refuse_wrapped
from .report import Conversion, Fate
from .select import matches

#: An image, a depth, a mask have fewer.
FEW = 8
_SMOOTH = ("bilinear", "bicubic")
_MODES = ("nearest", "nearest-exact", "bilinear", "bicubic")
#: The modules that upsample by themselves, and why they are left.
_LEARNED: dict[str, tuple[type, str]] = {
    "ConvTranspose2d": (TRANSPOSED, "it has learned kernels (transposed=True takes it)"),
    "PixelShuffle": (SHUFFLE, "its channels become pixels (transposed=True takes their mean)"),
}
Choice = str | Sequence[str] | Callable[[str, nn.Module], bool] | None


def convert_upsampling(
    model: nn.Module,
    example_input: Any,
    upsampler: str | Builder = "ddf",
    *,
    select: Choice = None,
    guided: bool = True,
    transposed: bool = False,
    dry_run: bool = False,
) -> Conversion:
    """Let any network upsample its maps by learned upsamplers, in place.

    The network runs once, in evaluation mode, and its calls of ``F.interpolate`` are noted, those of
    ``nn.Upsample`` among them. A call is taken if it makes maps of 8 channels or more s times as large, for a
    whole s from 2 on; sizes of pyramids that are odd on the way are. Left, each with its reason, are calls
    whose result becomes the output without a further layer (logits), maps pooled to a fixed size, fractions,
    and what is no map. A transposed convolution that gives s times the size with as many channels can be
    taken, too; its kernels are set aside. So can an ``nn.PixelShuffle``: what is upsampled is the mean of the
    s² channels that would have become the pixels of one.

    Each taken call gets an upsampler, a child of the module that makes it; the module changes its class, as a
    layer does in :func:`convert`, and answers the calls in the order in which it makes them. Names in the
    state dict stay and new ones come beside them. It is guided by the map of the wanted size that its module
    saw last before the call, such as a lateral of a pyramid or a skip of a U-Net; where there is none, it is
    not guided. ``"ddf"`` starts as what it replaces, nearest-neighbour or bilinear interpolation: networks
    that use the first, such as detectors with pyramids, answer as before until they are trained; bilinear
    ones nearly so, but at borders. Convert before you hand parameters to an optimizer or wrap the network.

    Args:
        model: any module.
        example_input: an input, a list of images for example, or a tuple of all inputs. What the network does
            on it, it has to do on others: as many calls, with as many channels, at the same scale.
        upsampler: a name that :func:`upsampler` knows, or a function of (channels, scale_factor,
            guidance_channels) that builds one.
        select: narrows what is taken: a glob or several of the names of the modules that make the calls, or a
            function of name and module.
        guided: whether upsamplers get a guidance where there is one.
        transposed: take transposed convolutions and pixel shuffles, too; what was learned for the places in a
            pixel is lost.
        dry_run: report what would become of the calls, and leave them.

    Returns:
        What became of which call, and why the others were left; it prints as a table.

    Raises:
        ValueError: the network fails on the example, a glob matches nothing, the upsampler is unknown, or the
            model is wrapped for distributed training. When a converted network runs: a module makes more or
            fewer calls than on the example, or with other channels; it is named.

    Example:
        >>> import torch, torchvision, decoupled_nets as dn
        >>> from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
        >>> model = resnet_fpn_backbone(backbone_name="resnet18", weights=None).eval()
        >>> print(dn.convert_upsampling(model, torch.rand(1, 3, 64, 64)))
        3 calls converted, 0 left
        calls  was                     became                         for example
        -----  ----------------------  -----------------------------  -----------
        3      interpolate nearest 2×  DDF 2×, guided (256 channels)  fpn[0]
        parameters: 13,774,016 before, 15,402,920 after (+11.83 %)
        flops: 712,900,608 before, 719,904,768 after (+0.98 %)
        >>> dn.revert(model)
        1
    """
    model = getattr(model, "_orig_mod", model)
    refuse_wrapped(model, "convert_upsampling")
    named: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        named.setdefault(module, []).append(name)
    selected = _selector(select, named)
    runs = record(model, example_input)
    fates = [
        Fate(tuple(named[module]), type(module).plain_class.__name__, reason="converted already")  # type: ignore[attr-defined]
        for module in named
        if is_answering(module)
    ]
    owners = [
        _Owner(module, tuple(named[module]), runs[module], upsampler, guided, transposed)
        for module in named
        if module in runs
    ]
    for owner in owners:
        fates += owner.fates(selected(owner.module))
    answered = {call for owner in owners for call in owner.answered}
    takers = [owner for owner in owners if any(owner.answers)]
    sizes = [model_size(model, example_input)]
    with ExitStack() as undo:
        with torch.random.fork_rng(enabled=dry_run), torch.inference_mode(False):
            for owner in takers:
                put_answers(owner.module, owner.plan(answered), owner.calls[0].like)
                undo.callback(take_answers, owner.module)
        sizes.append(model_size(model, example_input))
        if not dry_run:
            undo.pop_all()
    parameters, flops = zip(*sizes, strict=True)
    return Conversion(tuple(fates), parameters, flops, dry_run, noun="call")


@dataclass
class _Owner:
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
            found.append(Fate(names, was, became, reason, self._note(call) if became else None, selected))
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
        self.answers[number] = Answer(name, call.after[1], scale, guide if uses else None)
        kind = "DDF" if isinstance(module, DDFUpsample) else type(module).__name__
        return None, f"{kind} {scale}×" + (f", guided ({guide} channels)" if uses else "")

    def _note(self, call: Call) -> str | None:
        if call.kind == "ConvTranspose2d":
            return "its kernels are set aside"
        if call.kind == "PixelShuffle":
            return f"{call.before[1] // call.after[1]} channels become their mean"
        return "no longer aligned at the corners" if call.aligned else None

    def plan(self, answered: set[Call]) -> Plan:
        """What answers the calls in a run; those of modules inside are seen here if nothing answers them."""
        visit = next(visit for visit in self.visits if visit.own)
        own = dict(zip(visit.own, self.answers, strict=True))
        if isinstance(self.module, WHOLE):
            calls = list(own)
        else:
            calls = [call for call in visit.visible if call in own or call not in answered]
        return Plan(self.names[0] or "the network", tuple(own.get(call) for call in calls))


def scale_of(call: Call) -> int | None:
    """The whole factor from 2 on by which a call enlarges, the same along both axes; or None."""
    if len(call.before) != 4 or len(call.after) != 4 or 0 in call.before:
        return None
    (height, width), size = call.before[2:], call.after[2:]
    scale = max(round(size[0] / height), round(size[1] / width))
    near = all(abs(n - scale * m) < scale for n, m in zip(size, (height, width), strict=True))
    return scale if near and scale >= 2 else None


def _other_channels(call: Call) -> str | None:
    before, after = call.before[1], call.after[1]
    return f"{before} to {after} channels" if before != after else None


def _why_no_map(call: Call) -> str | None:
    if len(call.before) != 4 or not call.like.is_floating_point():
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


def _selector(select: Choice, named: dict[nn.Module, list[str]]) -> Callable[[nn.Module], bool]:
    if select is None:
        return lambda module: True
    if callable(select):
        chosen = select
        return lambda module: any(chosen(name, module) for name in named[module])
    globs = [select] if isinstance(select, str) else list(select)
    every = [name for names in named.values() for name in names]
    for glob in globs:
        if not any(matches(name, glob) for name in every):
            close = difflib.get_close_matches(glob, every, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(
                f"select: {textwrap.shorten(repr(glob), 80)} matches no module of the network{hint}; needed: "
                "names as named_modules() gives them"
            )
    return lambda module: any(matches(name, glob) for name in named[module] for glob in globs)
