"""The values of a learned magnitude, once a patch, with their derivatives in a fixed order of summation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..tensors import MaybeTensor, gradients
from .magnitude import magnitudes

ops = torch.ops.decoupled_nets


def magnitude(norm: Tensor, parameters: Tensor, radius: Tensor, name: str) -> Tensor:
    """``h / α`` of norms (B, N, *S), from parameters in force (N, P) and one radius ()."""
    arguments = norm, parameters, radius
    if torch.is_grad_enabled() and any(t.requires_grad for t in arguments):
        values: Tensor = _Radial.apply(*arguments, name)
        return values
    values = ops.radial(*arguments, name)
    return values


def composed(norm: Tensor, parameters: Tensor, radius: Tensor, name: str) -> Tensor:
    """The op ``radial`` in torch's own operations."""
    rows = parameters.view(len(parameters), *[1] * (norm.dim() - 2), -1)
    return magnitudes[name].fn(norm, radius, 1.0, 1.0, rows)


class _Radial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, norm: Tensor, parameters: Tensor, radius: Tensor, name: str) -> Tensor:
        ctx.save_for_backward(norm, parameters, radius)
        ctx.name = name
        values: Tensor = ops.radial(norm, parameters, radius, name)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[MaybeTensor, ...]:
        saved, name = ctx.saved_tensors, ctx.name
        if torch.is_grad_enabled():
            found = gradients(lambda n, p, r: composed(n, p, r, name), tuple(saved), grad)
            return *found, None
        return *ops.radial_backward(grad.contiguous(), *saved, name), None
