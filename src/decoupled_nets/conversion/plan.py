"""What is to become of every layer of a network, before anything is changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.parameter import is_lazy

from ..nn import DDFUpsample
from ..nn.upsamplers import Upsampler
from .report import Fate
from .select import Selector

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_COMPILED = {"Conv1d", "Conv2d", "Conv3d"}


class Replacement(Protocol):
    """What takes the place of layers."""

    def refusal(self, module: nn.Module) -> str | None:
        """Why a layer has to be left, or None."""

    def became(self, module: nn.Module) -> str:
        """What the layer becomes, in words."""

    def note(self, module: nn.Module) -> str | None:
        """What is lost on the way, or None."""

    def apply(self, module: nn.Module) -> nn.Module:
        """Convert a layer: itself, changed, or another in its place."""


def plan(
    model: nn.Module, replacement: Replacement, selector: Selector, linear: bool
) -> list[tuple[nn.Module, Fate]]:
    """Every convolution (and linear layer) of a network, with what is to become of it.

    Raises:
        ValueError: the network is wrapped for distributed training, or a selected layer is lazy.
    """
    named: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        named.setdefault(module, []).append(name)
    refuse_wrapped(model, "convert")
    functional = {**_used_by_their_weights(model), **_adapters(model), **_parts_of_upsamplers(model)}
    fates = []
    for module, names in named.items():
        cannot = _foreign(module)
        if cannot is None and not isinstance(
            module, (*_CONVOLUTIONS, nn.Linear) if linear else _CONVOLUTIONS
        ):
            continue
        why = cannot or selector(tuple(names), module)
        selected = why is None
        if selected:
            if any(is_lazy(p) for p in module.parameters(recurse=False)):
                raise ValueError(
                    f"{names[0]!r} is a lazy module, without weights yet; needed: one run of the network on "
                    "a batch before"
                )
            why = functional.get(module) or replacement.refusal(module)
        fate = Fate(tuple(names), describe(module), reason=why, selected=selected)
        if why is None:
            fate = replace(fate, became=replacement.became(module), note=replacement.note(module))
        fates.append((module, fate))
    return fates


def refuse_wrapped(model: nn.Module, what: str) -> None:
    """Refuse a network whose parameters somebody has counted: those that come or go would be missed.

    Raises:
        ValueError: the network, or a part of it, is wrapped for distributed training.
    """
    for module in model.modules():
        if type(module).__module__.startswith(("torch.distributed", "torch.nn.parallel")):
            raise ValueError(
                f"{type(module).__name__} received; needed: the module inside it; {what} it first, then "
                "wrap it"
            )


def describe(module: Any) -> str:
    """Kind and kernel size.

    Example:
        >>> describe(nn.Conv2d(3, 8, (1, 7), groups=1))
        'Conv2d 1×7'
    """
    name = getattr(module, "original_name", None) or type(module).__name__.removeprefix("Parametrized")
    size = getattr(module, "kernel_size", None)
    if isinstance(size, int):
        size = (size,)
    return f"{name} {'×'.join(map(str, size))}" if isinstance(size, tuple | list) else name


def _foreign(module: Any) -> str | None:
    """Why something that convolves is no convolution in our sense, or None."""
    if isinstance(module, torch.jit.ScriptModule):
        return "compiled by torch.jit" if getattr(module, "original_name", "") in _COMPILED else None
    if isinstance(module, _ConvTransposeNd):
        return "transposed"
    if isinstance(module, _CONVOLUTIONS):
        return None
    if all(hasattr(module, name) for name in ("kernel_size", "in_channels", "weight")):
        return f"{type(module).__module__}.{type(module).__qualname__} computes in its own way"
    return None


def _used_by_their_weights(model: nn.Module) -> dict[nn.Module, str]:
    """Linear layers that torch's attention never calls."""
    return {
        inner: f"{type(module).__name__} computes with its weight itself"
        for module in model.modules()
        if isinstance(module, nn.MultiheadAttention | nn.TransformerEncoderLayer)
        for inner in module.modules()
        if isinstance(inner, nn.Linear)
    }


def _parts_of_upsamplers(model: nn.Module) -> dict[nn.Module, str]:
    """Convolutions that generate filters or offsets, or start as interpolation."""
    return {
        inner: "a part of an upsampler"
        for module in model.modules()
        if isinstance(module, Upsampler | DDFUpsample)
        for inner in module.modules()
    }


def _adapters(model: nn.Module) -> dict[nn.Module, str]:
    """Layers of wrappers such as peft's, which hold a layer as ``base_layer`` and add to its kernel."""
    found: dict[nn.Module, str] = {}
    for wrapper in model.modules():
        base = getattr(wrapper, "base_layer", None)
        layer = isinstance(base, (*_CONVOLUTIONS, nn.Linear)) or hasattr(base, "base_layer")
        if not isinstance(base, nn.Module) or not layer:
            continue
        inside = set(base.modules())
        for inner in wrapper.modules():
            kind = "has an adapter that is to be merged first" if inner in inside else "an adapter"
            found.setdefault(inner, f"{kind} ({type(wrapper).__module__.split('.')[0]})")
    return found
