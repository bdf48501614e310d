"""Convolutions that give way to Decoupled Dynamic Filters."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Literal

import torch
from torch import nn

from ..nn import DDF2d, DecoupledConv2d, FilterNorm
from ..nn.dynamic import filters_like, made_like, variant_options
from ..nn.start import separable, start_from_kernel
from .trial import find_twin
from .twins import why_unfit

REPLACES = "_replaces"


class DynamicFilters:
    """The replacement of a 3×3 convolution by a DDF.

    A DDF is depth-wise: where channels change, a 1×1 convolution has to follow it. With the start
    ``"depthwise"`` a depth-wise convolution keeps what it computes; one that a 1×1 convolution follows keeps
    the part of its kernels that the two can hold. Other dense kernels are dropped.

    Args:
        variant: ``"ddf"`` or another of its names.
        mix_channels: put that 1×1 convolution behind it, rather than leave such layers; ``"dense"``: behind
            every convolution that is not depth-wise.
        **options: of :class:`decoupled_nets.DDF2d`: heads, squeeze_ratio, combine and so on.
    """

    def __init__(self, variant: str, mix_channels: bool | Literal["dense"] = False, **options: Any) -> None:
        if mix_channels not in (False, True, "dense"):
            raise ValueError(f"mix_channels = {mix_channels!r} received; needed: False, True or 'dense'")
        self.mix_channels = mix_channels
        self.options: Mapping[str, Any] = variant_options(variant, options)
        heads = options.get("heads", 1)
        channels = heads if isinstance(heads, Integral) and int(heads) > 0 else 1
        # Raises if an option is out of range.
        example = DDF2d(int(channels), device="meta", **self.options)
        self.keeps = example.init == "depthwise"
        self.standardises = any(isinstance(part, FilterNorm) for part in example.modules())

    def refusal(self, module: Any) -> str | None:
        """Why a layer cannot give way to a DDF, or None."""
        if (reason := why_unfit(module)) is not None:
            return reason
        twin, reason = find_twin(module)
        if twin is not DecoupledConv2d:
            return reason or f"{type(module).__qualname__}, and a DDF is for nn.Conv2d"
        k, stride, dilation = module.kernel_size, module.stride, module.dilation
        if k[0] != k[1] or k[0] % 2 == 0:
            return f"{k[0]}×{k[1]}, and a DDF needs an odd square"
        if k[0] == 1 and self.standardises:
            return "1×1, and the filters of a DDF are standardised over several taps"
        if len(set(stride)) > 1 or len(set(dilation)) > 1:
            return f"stride {stride} and dilation {dilation}, and a DDF needs square ones"
        around = dilation[0] * (k[0] // 2)
        same = module.padding == "same" or module.padding == (around, around)
        if not same or module.padding_mode != "zeros":
            return f"padding {module.padding} ({module.padding_mode}), and a DDF keeps the size with zeros"
        if module.in_channels != module.out_channels and not self.mix_channels:
            return "channels change (mix_channels=True puts a 1×1 convolution behind the DDF)"
        heads = self.options.get("heads", 1)
        if module.in_channels % heads:
            return f"{module.in_channels} channels, not a multiple of {heads} heads"
        return None

    def became(self, module: Any) -> str:
        """What stands in the layer's place, in words."""
        return "DDF2d, Conv2d 1×1" if self._mixes(module) else "DDF2d"

    def _mixes(self, module: Any) -> bool:
        """Whether a 1×1 convolution is put behind the layer's DDF."""
        dense = self.mix_channels == "dense" and module.groups < module.in_channels
        return dense or module.in_channels != module.out_channels

    def note(self, module: Any) -> str | None:
        """What is lost."""
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        kept, lost = self._kept(module), ["hooks"] if any(hooks) else []
        if kept is None:
            lost.insert(0, "weights")
        dropped = f"{' and '.join(lost)} dropped" if lost else None
        return ", ".join(filter(None, (kept, dropped)))

    def _kept(self, module: Any) -> str | None:
        """What of a layer its replacement starts with, in words; None for nothing."""
        if not self.keeps:
            return None
        if self._mixes(module):
            return "the separable part of the weights kept"
        return "weights kept" if module.groups == module.in_channels else None

    def apply(self, module: Any) -> nn.Module:
        """A new module for the layer's place, on its device, with its type and mode."""
        alone, biased = not self._mixes(module), module.bias is not None
        filters = filters_like(module, self.options, bias=alone and biased)
        out: nn.Module = filters
        if not alone:
            out = nn.Sequential(
                filters,
                nn.Conv2d(module.in_channels, module.out_channels, 1, bias=biased, **made_like(module)),
            )
        self._take_over(module, filters, None if alone else out[1])  # type: ignore[index]
        out.requires_grad_(module.weight.requires_grad)
        setattr(out, REPLACES, repr(module))
        return out.train(module.training)

    @torch.no_grad()
    def _take_over(self, module: Any, filters: DDF2d, mix: Any) -> None:
        """Let the replacement start with what it can hold of a layer."""
        if module.bias is not None:  # it may say how rare a class is, as detectors' do
            last: Any = filters if mix is None else mix
            last.bias.copy_(module.bias)
        if self._kept(module) is None or module.weight.is_meta:
            return
        kernel = module.weight
        if mix is not None:
            kernel, mixing = separable(module.weight, module.groups)
            mix.weight.copy_(mixing)
        assert filters.channel_branch is not None
        start_from_kernel(filters.spatial_branch, filters.channel_branch, kernel, filters.combine)
