"""Decoupled layers for inference: what does not depend on the input is computed once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..ops.decoupled.functional import decoupled_conv, decoupled_linear
from ..ops.norms import accumulation_dtype, kernel_norm
from .conv import DecoupledLinear
from .layer import Layer

_PER_KERNEL = ("kernel_norm", "radius", "kappa", "scale", "bias", "h_parameters", "g_parameters")


class _Fused(Layer):
    """Kernels, their norms, and radius and sharpness as they are in evaluation: all of them buffers."""

    weight: Tensor
    kernel_norm: Tensor
    radius: Tensor
    kappa: Tensor | None
    scale: Tensor | None
    bias: Tensor | None
    h_parameters: Tensor | None
    g_parameters: Tensor | None

    @torch.no_grad()
    def __init__(self, layer: Any, scale: Tensor | None = None, shift: Tensor | None = None) -> None:
        super().__init__()
        if layer.training:
            raise ValueError("a layer in training mode received; needed: one in evaluation (layer.eval())")
        self.operator, self.weighting, self.eps = layer.operator, layer.weighting, layer.eps
        self._summary = layer.extra_repr()
        self.with_norm = scale is not None
        weight = layer.effective_weight()
        norm = kernel_norm(weight, layer.eps)
        bias = None if layer.bias is None else layer.bias.to(norm.dtype)
        if scale is not None:
            bias = shift if bias is None else bias * scale + (0 if shift is None else shift)
            bias, scale = None if bias is None else bias.to(norm.dtype), scale.to(norm.dtype)
        if layer.scale is not None:
            scale = layer.scale.to(norm.dtype) * (1.0 if scale is None else scale)
        state = {
            "weight": weight,
            "kernel_norm": norm,
            "radius": norm.new_tensor(1.0) * layer.effective_radius(norm),  # in evaluation no patch enters it
            "kappa": layer.effective_k(),
            "scale": scale,
            "bias": bias,
            "h_parameters": layer.h_parameters,
            "g_parameters": layer.g_parameters,
        }
        for name, value in state.items():
            self.register_buffer(name, None if value is None else value.detach().clone())
        self.training = False  # like the layer it stands for

    def _apply(self, fn: Any, recurse: bool = True) -> _Fused:
        before = {name: getattr(self, name) for name in _PER_KERNEL}
        super()._apply(fn, recurse)
        for name, value in before.items():
            now = getattr(self, name)
            if value is not None and now.dtype != accumulation_dtype(now.dtype):
                # layer.bfloat16() narrows every buffer; these are few and stay as they were
                setattr(self, name, value.to(now.device))
        return self

    def _arguments(self) -> dict[str, Any]:
        return {
            "operator": self.operator,
            "weighting": self.weighting,
            "eps": self.eps,
            "radius": self.radius,
            "k": self.kappa,
            "scale": self.scale,
            "kernel_norm": self.kernel_norm,
            "h_parameters": self.h_parameters,
            "g_parameters": self.g_parameters,
        }

    def extra_repr(self) -> str:
        """The layer's own, and whether a BatchNorm is part of it."""
        return f"{self._summary}, with BatchNorm" if self.with_norm else self._summary


class FusedDecoupledConv(_Fused):
    """A decoupled convolution in evaluation, in one, two or three dimensions, and a BatchNorm behind it.

    Kernel norms and the radius are buffers, and ``scale`` and ``bias`` hold what the BatchNorm did. It has no
    parameters and does the same in training mode.

    Args:
        layer: a DecoupledConv1d, 2d or 3d in evaluation mode.
        scale: (O,), by which the layer's output is to be multiplied.
        shift: (O,), which is to be added then.

    Raises:
        ValueError: the layer is in training mode.
    """

    def __init__(self, layer: Any, scale: Tensor | None = None, shift: Tensor | None = None) -> None:
        super().__init__(layer, scale, shift)
        self.in_channels, self.out_channels = layer.in_channels, layer.out_channels
        self.kernel_size, self.stride = layer.kernel_size, layer.stride
        self.padding, self.dilation = layer.padding, layer.dilation
        self.groups, self.padding_mode = layer.groups, layer.padding_mode
        self._reversed_padding_repeated_twice = list(layer._reversed_padding_repeated_twice)
        self._pad = type(layer).padded_input
        for name, part in layer.named_children():  # a padding that is a module of its own
            if name != "parametrizations":
                self.add_module(name, part)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, *spatial) or, without BatchNorm, (C, *spatial) to (B, O, *S) or (O, *S)."""
        if self.with_norm and input.dim() != self.weight.dim():
            raise ValueError(
                f"input of shape {tuple(input.shape)} received; needed: {self.weight.dim()} dimensions, "
                "because the BatchNorm in this layer takes batches only"
            )
        input, padding = self._pad(self, input)
        return decoupled_conv(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups,
            **self._arguments(),
        )  # fmt: skip


class FusedDecoupledLinear(_Fused):
    """A decoupled linear layer in evaluation; see :class:`FusedDecoupledConv`."""

    def __init__(self, layer: DecoupledLinear) -> None:
        super().__init__(layer)
        self.in_features, self.out_features = layer.in_features, layer.out_features

    def forward(self, input: Tensor) -> Tensor:
        """(..., C) to (..., O)."""
        return decoupled_linear(input, self.weight, self.bias, **self._arguments())
