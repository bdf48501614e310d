"""Decoupled convolution for a compiler: all of it to be seen, but the backward pass of the epilogue.

A compiler fuses the forward pass with what comes before and after, and the gradient of the patch norms with
the backward pass of the layer before. The epilogue's gradients it would spread over several passes, because a
product is summed over channels, for the norms, and over positions, for the radius: that is one op here.

Inductor computes the response again wherever the backward pass of a BatchNorm behind it needs it, as long as
it is cheap: of at most four tensors and some thirty operations. Beyond that it writes a map in float32 and
reads it twice. So ``‖w‖``, and where they can the gain and a factor of h, go into the kernels before the
convolution, and the gradient of the square sums is one product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..norms import accumulation_dtype
from ..tensors import MaybeTensor
from . import composed
from .call import ConvCall, Operands
from .derivative import Response, ops


def measure(call: ConvCall, operands: Operands) -> tuple[ConvCall, Operands]:
    """As :func:`.composed.measure`, with one product in the gradient of what has the input's size."""
    geometry = call.geometry
    assert geometry is not None
    geometry.output_size(operands.x.shape[2:])
    total = _SquareSums.apply(operands.x, call.groups)
    return call, operands._replace(norm=(geometry.window_sum(total) + call.eps).sqrt())


def divided(response: Response) -> tuple[float, Response]:
    """A positive number that kernels are to bring in, and the response without it: of fewer operations.

    ``h(‖x‖; α, β) = f · h(‖x‖; α/f, β/f)``; f makes the first factor in h a 1.
    """
    factor = response.beta if response.magnitude == "seg" else response.alpha
    # Kernels in 16 bits keep their digits.
    if response.angle not in _POWERS or not 1 / 16 <= factor <= 16:
        return 1.0, response
    return factor, response._replace(alpha=response.alpha / factor, beta=response.beta / factor)


_POWERS = {"cos": 1, "sqcos": 2}  # of the cosine


def scaled_kernels(
    weight: Tensor, kernel_norm: Tensor, gain: MaybeTensor, angle: str, by: float
) -> tuple[Tensor, Tensor, MaybeTensor]:
    """Kernels with what divides and multiplies their response; and the norms and the gain that are left."""
    factor = kernel_norm.reciprocal()
    if by != 1.0:
        factor = factor * by ** (1 / _POWERS[angle])
    if angle == "cos" and gain is not None:
        factor, gain = factor * gain, None
    weight = weight.to(factor.dtype) * factor.view(-1, *[1] * (weight.dim() - 1))
    return weight, torch.ones_like(kernel_norm), gain


class _SquareSums(torch.autograd.Function):
    """``Σ x²`` over the channels of each group: (B, C, *spatial) to (B, G, *spatial)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int) -> Tensor:
        ctx.save_for_backward(x)
        wide = x.to(accumulation_dtype(x.dtype))
        return wide.square().unflatten(1, (groups, -1)).sum(2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        wide = x.to(grad.dtype).unflatten(1, (grad.shape[1], -1))
        return (wide * (2 * grad).unsqueeze(2)).flatten(1, 2).to(x.dtype), None


def convolution(call: ConvCall, operands: Operands, response: Response) -> Tensor:
    """As :func:`.derivative.convolution`, from an input as it is and kernels with norms of 1."""
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
        # The kernel norms are all 1. Of a result that is a view, Dynamo of torch 2.11 gives zero gradients.
        return composed.epilogue(
            z, norm, None, gain, radius, bias, h, g_parameters, magnitude, angle, alpha, beta
        ).clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[MaybeTensor, ...]:
        found = ops.epilogue_backward(grad, *ctx.saved_tensors, *ctx.operator, False)
        own = (by if given else None for by, given in zip(found, ctx.given, strict=True))
        return *own, None, None, None, None
