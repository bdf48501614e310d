"""The ways of computing the same decoupled convolutions that are measured beside one another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn import DecoupledConv2d
from ..ops.backend import use_backend
from ..ops.decoupled.reference import decoupled_conv_reference
from ..ops.norms import kernel_norm


class Composed(nn.Module):
    """A layer, or a network, on the composed path."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """As the module."""
        with use_backend("composed"):
            return self.module(x)


class Released(nn.Module):
    """A layer as the paper's released code computes it: patch norms by a convolution of x² with ones."""

    ones: Tensor

    def __init__(self, layer: DecoupledConv2d) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("ones", torch.ones_like(layer.weight[: layer.groups]))

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        layer: Any = self.layer
        norm = (self._conv(x * x, self.ones) + layer.eps).sqrt()
        unit = layer.weight / kernel_norm(layer.weight, layer.eps).view(-1, 1, 1, 1)
        radius = layer.effective_radius(norm)
        if isinstance(radius, Tensor) and radius.dim():
            radius = radius.view(layer.groups, -1, 1, 1)
        # A group's kernels share its patch norm: (B, G, O/G, H, W); with one group only a view.
        z = self._conv(x, unit.to(x.dtype)).unflatten(1, (layer.groups, -1))
        norm = norm.unsqueeze(2)
        h = layer.operator.h(norm, radius, parameters=layer.h_parameters)
        g = layer.operator.g(z / norm, None, layer.g_parameters, layer.weight[0].numel())
        out = (h * g).flatten(1, 2)
        return out if layer.bias is None else out + layer.bias.view(-1, 1, 1)

    def _conv(self, x: Tensor, weight: Tensor) -> Tensor:
        layer: Any = self.layer
        return F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


class Reference(nn.Module):
    """A layer in evaluation mode as the paper writes it, in float64."""

    def __init__(self, layer: DecoupledConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        layer: Any = self.layer
        return decoupled_conv_reference(
            x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups,
            operator=layer.operator, radius=layer.effective_radius(x.new_ones(1)), eps=layer.eps,
            h_parameters=layer.h_parameters, g_parameters=layer.g_parameters,
        )  # fmt: skip


def replaced(module: nn.Module, by: Callable[[DecoupledConv2d], nn.Module]) -> nn.Module:
    """A copy of `module` with every :class:`DecoupledConv2d` in it, or itself, replaced."""
    return _replace(copy.deepcopy(module), by)


def compiled(module: nn.Module) -> nn.Module:
    """The module under ``torch.compile``, for the shapes it meets and no others."""
    return cast(nn.Module, torch.compile(module, fullgraph=True, dynamic=False))


PATHS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "layer": lambda module: module,
    "composed": Composed,
    "released": lambda module: replaced(module, Released),
    "compiled": compiled,
}


def _replace(module: nn.Module, by: Callable[[DecoupledConv2d], nn.Module]) -> nn.Module:
    if isinstance(module, DecoupledConv2d):
        return by(module)
    for name, child in module.named_children():
        setattr(module, name, _replace(child, by))
    return module
