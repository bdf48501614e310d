"""Convolutions that give way to Decoupled Dynamic Filters."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch
from torch import nn

from ..nn import DecoupledConv2d
from .trial import find_twin
from .twins import why_unfit

REPLACES = "_replaces"


class DynamicFilters:
    """The replacement of a 3×3 convolution by a DDF.

    A DDF is depth-wise: where channels change, a 1×1 convolution has to follow it.

    Args:
        mix_channels: put that 1×1 convolution behind it, rather than leave such layers.
        **options: of :class:`decoupled_nets.DDF2d`: heads, squeeze_ratio, combine and so on.
    """

    def __init__(self, mix_channels: bool = False, **options: Any) -> None:
        self.mix_channels = mix_channels
        self.options: Mapping[str, Any] = options
        heads = options.get("heads", 1)
        self._filters()(
            heads if isinstance(heads, Integral) and int(heads) > 0 else 1, device="meta", **options
        )

    @staticmethod
    def _filters() -> type[nn.Module]:
        from .. import nn as layers

        if not hasattr(layers, "DDF2d"):
            raise ValueError("operator 'ddf' received, but this version has no DDF2d")
        return layers.DDF2d

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
        return "DDF2d" if module.in_channels == module.out_channels else "DDF2d, Conv2d 1×1"

    def note(self, module: Any) -> str | None:
        """What is lost."""
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        return "weights and hooks dropped" if any(hooks) else "weights dropped"

    def apply(self, module: Any) -> nn.Module:
        """A new module for the layer's place, on its device, with its type and mode."""
        made = {"device": module.weight.device, "dtype": module.weight.dtype}
        k, stride, dilation = module.kernel_size[0], module.stride[0], module.dilation[0]
        out = self._filters()(module.in_channels, k, stride, dilation, **self.options, **made)
        if module.in_channels != module.out_channels:
            bias = module.bias is not None
            mix = nn.Conv2d(module.in_channels, module.out_channels, 1, bias=bias, **made)
            if bias:  # it may say how rare a class is, as detectors' do
                with torch.no_grad():
                    mix.bias.copy_(module.bias)  # type: ignore[union-attr]
            out = nn.Sequential(out, mix)
        out.requires_grad_(module.weight.requires_grad)
        setattr(out, REPLACES, repr(module))
        return out.train(module.training)
