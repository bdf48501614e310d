"""Decoupled convolution for a compiler: all of it to be seen, but the backward pass of the epilogue.

A compiler fuses the forward pass with what comes before and after, and the gradient of the patch norms with
the backward pass of the layer before. The epilogue's gradients it would spread over several passes, because a
product is summed over channels, for the norms, and over positions, for the radius: that is one op here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..tensors import MaybeTensor
from . import composed
from .call import ConvCall, Operands
from .derivative import Response, ops


def convolution(call: ConvCall, operands: Operands, response: Response) -> Tensor:
    """As :func:`.derivative.convolution`, from an input as it is."""
    z = composed.convolution(call, operands.x, operands.weight)
    kernel_norm, scale = operands.kernel_norm, operands.scale
    # Dynamo takes every tensor once.
    scale = scale.clone() if scale is not None and scale is kernel_norm else scale
    others = operands.norm, kernel_norm, scale, operands.radius, operands.bias
    return _Epilogue.apply(z, *others, operands.h_parameters, operands.g_parameters, *response.arguments)


class _Epilogue(torch.autograd.Function):
    """The epilogue of ATen's operations with the gradients of our op."""

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        norm: Tensor,
        kernel_norm: Tensor,
        gain: MaybeTensor,
        radius: MaybeTensor,
        bias: MaybeTensor,
        h: MaybeTensor,
        g_parameters: MaybeTensor,
        magnitude: str,
        angle: str,
        alpha: float,
        beta: float,
    ) -> Tensor:
        ctx.save_for_backward(z, norm, kernel_norm, gain, radius, h, g_parameters)
        ctx.operator = magnitude, angle, alpha, beta
        tensors = z, norm, kernel_norm, gain, radius, bias, h, g_parameters  # in the order of the gradients
        ctx.given = tuple(one is not None for one in tensors)
        # Of a result that is a view, Dynamo of torch 2.11 gives every gradient as zero.
        return composed.epilogue(
            z, norm, kernel_norm, gain, radius, bias, h, g_parameters, magnitude, angle, alpha, beta
        ).clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[MaybeTensor, ...]:
        found = ops.epilogue_backward(grad, *ctx.saved_tensors, *ctx.operator, False)
        own = (by if given else None for by, given in zip(found, ctx.given, strict=True))
        return *own, None, None, None, None
