"""``decoupled_nets.convert_upsampling``."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ..nn.upsamplers import Builder
from .answers import is_answering, take_answers
from .calls import record
from .engine import model_size
from .owners import Owner
from .plan import refuse_wrapped
from .report import Conversion, Fate
from .select import matches

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
    whole s from 2 on, odd sizes of pyramids included. The others are left, each with its reason: what gives
    the outputs (logits), maps pooled to a fixed size, fractions, images and masks.

    Each taken call gets an upsampler, a child of the module that makes it, which changes its class, as a
    layer does in :func:`convert`. Names in the state dict stay. The map of the wanted size that the module
    saw last guides it, such as a lateral or a skip; where there is none, nothing does. ``"ddf"`` starts as
    what it replaces: networks that repeat pixels answer as before until they are trained, bilinear ones but
    at borders; notes say where else answers change. Convert before you hand parameters to an optimizer.

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
            fewer calls than on the example, or others; it is named.

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
    owners = [
        Owner(module, tuple(names), runs[module], upsampler, guided, transposed)
        for module, names in named.items()
        if module in runs
    ]
    fates = [_already(module, names) for module, names in named.items() if is_answering(module)]
    fates += [fate for owner in owners for fate in owner.fates(selected(owner.module))]
    sizes = [model_size(model, example_input)]
    with _answered(model, owners, keep=not dry_run):
        sizes.append(model_size(model, example_input))
    parameters, flops = zip(*sizes, strict=True)
    return Conversion(tuple(fates), parameters, flops, dry_run, noun="call")


def _already(module: Any, names: list[str]) -> Fate:
    return Fate(tuple(names), type(module).plain_class.__name__, reason="converted already")


@contextmanager
def _answered(model: nn.Module, owners: list[Owner], keep: bool) -> Iterator[None]:
    """The calls that are taken are answered: for a while, or to stay, if nothing fails."""
    answered = {call for owner in owners for call in owner.answered}
    with ExitStack() as undo:
        with torch.random.fork_rng(enabled=not keep), torch.inference_mode(False):
            for owner in owners:
                if any(owner.answers):
                    owner.put(answered, model)
                    undo.callback(take_answers, owner.module)
        yield
        if keep:
            undo.pop_all()


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
