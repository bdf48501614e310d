"""Decoupled convolution for a compiler: all of it to be seen, but the backward pass of the epilogue.

A compiler fuses the forward pass with what comes before and after, and the gradient of the patch norms with
the backward pass of the layer before. The epilogue's gradients it would spread over several passes, because a
product is summed over channels, for the norms, and over positions, for the radius: that is one op here.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import kernel_twins as twins
from .arguments import Form
from .fused import gain_and_radius, response_of
from .kernel_twins import MaybeTensor, Response
from .norm_cache import current_kernel_norm
from .norms import patch_norm

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
ops = torch.ops.decoupled_nets


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
        magnitude: str,
        angle: str,
        alpha: float,
        beta: float,
    ) -> Tensor:
        ctx.save_for_backward(z, norm, kernel_norm, gain, radius)
        ctx.operator = magnitude, angle, alpha, beta
        ctx.given = gain is not None, radius is not None, bias is not None
        response = Response(magnitude, angle, alpha, beta)
        # Of a result that is a view, Dynamo of torch 2.11 gives every gradient as zero.
        return twins.epilogue(response, z, norm, kernel_norm, gain, radius, bias).clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[MaybeTensor, ...]:
        z, norm, kernel_norm, gain, radius = ctx.saved_tensors
        magnitude, angle, alpha, beta = ctx.operator
        by_z, by_norm, by_kernel_norm, by_gain, by_radius, by_bias = ops.epilogue_backward(
            grad, z, norm, kernel_norm, gain, radius, magnitude, angle, alpha, beta, False
        )
        with_gain, with_radius, with_bias = ctx.given
        return (
            by_z, by_norm, by_kernel_norm, by_gain if with_gain else None,
            by_radius if with_radius else None, by_bias if with_bias else None, None, None, None, None,
        )  # fmt: skip


def decoupled_conv(input: Tensor, weight: Tensor, bias: Tensor | None, form: Form) -> Tensor:
    """(B, C, *spatial) to (B, O, *S), where :func:`decoupled_nets.ops.fused.can_compile`."""
    geometry = form.geometry
    norm = patch_norm(input, geometry, form.groups, form.eps)
    conv = _CONV[weight.dim() - 2]
    if geometry.symmetric:
        pads = tuple(before for before, _ in geometry.padding)
        z = conv(input, weight, None, geometry.stride, pads, geometry.dilation, form.groups)
    else:
        z = conv(geometry.pad(input), weight, None, geometry.stride, 0, geometry.dilation, form.groups)
    given = None if form.kernel_norm is None else form.kernel_norm.to(norm.dtype)
    w_norm = current_kernel_norm(weight, form.eps) if given is None else given
    gain, radius = gain_and_radius(form, norm, w_norm)
    gain = gain.clone() if gain is w_norm else gain  # Dynamo takes every tensor once
    response = response_of(form)
    bias = None if bias is None else bias.to(norm.dtype)
    return _Epilogue.apply(z, norm, w_norm, gain, radius, bias, *response.arguments)
