"""Decoupled convolution and linear layer in torch's own operations: any device, and derivatives of any order.

Shapes: B batch, G groups, C channels, O output channels, S spatial sizes. Norms are (B, G, *S).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import norms
from ..tensors import MaybeTensor
from .angle import angles
from .call import ConvCall, Operands
from .magnitude import magnitudes
from .operator import Operator, Value, Weighting

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def measure(call: ConvCall, operands: Operands) -> tuple[ConvCall, Operands]:
    """The call with the norms of its patches."""
    x = operands.x
    if call.geometry is None:
        return call, operands._replace(norm=norms.vector_norm(x, call.eps))
    return call, operands._replace(norm=norms.patch_norm(x, call.geometry, call.groups, call.eps))


def respond(call: ConvCall, operands: Operands) -> Tensor:
    """(B, C, *spatial) to (B, O, *S), or (..., C) to (..., O), from operands with norms."""
    operands = by_rows(call, operands)
    norm = operands.norm
    assert norm is not None
    unit, w_norm = _unit_kernels(operands, call.eps)
    rows, dims = _rows(call, operands), operands.weight.dim() - 2
    linear = call.geometry is None
    z = F.linear(operands.x, unit) if linear else convolution(call, operands.x, unit)

    def column(value: Any, last: tuple[int, ...] = ()) -> Any:
        if not (isinstance(value, Tensor) and value.dim()):
            return value
        return value.view(rows, -1, *[1] * dims, *last)

    def parameters(value: MaybeTensor) -> MaybeTensor:
        return None if value is None else column(value, value.shape[1:])

    axis = -1 if linear else 1
    out = apply_operator(
        z.unflatten(axis, (rows, -1)),
        norm.unsqueeze(-1 if linear else 2),
        column(w_norm),
        call.operator,
        weighting=call.weighting,
        h_parameters=parameters(operands.h_parameters),
        g_parameters=parameters(operands.g_parameters),
        fan_in=operands.weight[0].numel(),
        **{name: column(value) for name, value in operands.constants().items()},
    )
    return _finished(out, operands, column).flatten(axis - linear, 2 - 3 * linear).to(z.dtype)


def by_rows(call: ConvCall, operands: Operands) -> Operands:
    """The operands with norms (B, N, *S) and parameters (N, P) for as many rows of channels as there are."""
    norm, rows = operands.norm, _rows(call, operands)
    assert norm is not None
    if call.geometry is not None and rows > call.groups:
        norm = norm.repeat_interleave(rows // call.groups, 1)

    def spread(value: MaybeTensor) -> MaybeTensor:
        return (
            value if value is None or len(value) == rows else value.repeat_interleave(rows // len(value), 0)
        )

    return operands._replace(
        norm=norm, h_parameters=spread(operands.h_parameters), g_parameters=spread(operands.g_parameters)
    )


def _rows(call: ConvCall, operands: Operands) -> int:
    """Into how many rows the channels fall, each with norms and parameters of its own."""
    parameters = [len(value) for value in (operands.h_parameters, operands.g_parameters) if value is not None]
    return math.lcm(call.groups, *parameters)


def convolution(call: ConvCall, x: Tensor, weight: Tensor) -> Tensor:
    """The plain convolution of a call."""
    geometry = call.geometry
    assert geometry is not None
    conv, pads = _CONV[x.dim() - 2], tuple(before for before, _ in geometry.padding)
    if not geometry.symmetric:
        x, pads = geometry.pad(x), (0,) * len(pads)
    return conv(x, weight, None, geometry.stride, pads, geometry.dilation, call.groups)


def _unit_kernels(operands: Operands, eps: float) -> tuple[Tensor, Tensor]:
    """``w/‖w‖`` and ‖w‖ (O,), which may be known."""
    weight, norm = operands.weight, operands.kernel_norm
    norm = norms.kernel_norm(weight, eps) if norm is None else norm
    return (weight / norm.view(-1, *[1] * (weight.dim() - 1))).to(weight.dtype), norm


def _finished(out: Tensor, operands: Operands, column: Any) -> Tensor:
    """The response with scale and bias."""
    assert operands.norm is not None
    if operands.scale is not None:
        out = out * column(operands.scale.to(operands.norm.dtype))
    if operands.bias is not None:
        out = out + column(operands.bias.to(operands.norm.dtype))
    return out


def apply_operator(
    projection: Tensor,
    patch_norm: Tensor,
    kernel_norm: Tensor,
    operator: Operator,
    *,
    radius: Value = 1.0,
    weighting: Weighting | None = None,
    alpha: Value | None = None,
    beta: Value | None = None,
    k: Value | None = None,
    h_parameters: MaybeTensor = None,
    g_parameters: MaybeTensor = None,
    fan_in: int = 1,
) -> Tensor:
    """``h · g`` from the projections of the patches on the unit kernels; all arguments broadcast.

    Args:
        projection: ``⟨w/‖w‖, x⟩``, that is ``‖x‖ cos θ``, in the type in which it was computed.
        patch_norm: ``‖x‖``.
        kernel_norm: ``‖w‖``; it counts only with a weighting.
        operator: which ``h`` and ``g``.
        radius: ρ.
        weighting: None leaves ``‖w‖`` out; ``"linear"`` multiplies by it; ``"product"`` gives
            ``h(‖w‖‖x‖)`` (for tanh: Eq. 15); ``"separate"`` gives ``h(‖w‖) h(‖x‖)`` with α counted once
            (for tanh: Eq. 16).
        alpha: α in place of the operator's own.
        beta: β in place of the operator's own.
        k: sharpness in place of the operator's own.
        h_parameters: parameters (..., P) of a learned magnitude.
        g_parameters: those of a learned angle.
        fan_in: the size of a patch, which a learned angle goes by.
    """
    size = patch_norm * kernel_norm if weighting == "product" else patch_norm
    h = operator.h(size, radius, alpha, beta, h_parameters)
    if weighting == "linear":
        h = h * kernel_norm
    elif weighting == "separate":
        h = h * operator.h(kernel_norm, radius, 1.0, beta, h_parameters)
    wide = projection.to(patch_norm.dtype)
    inverse = patch_norm.reciprocal()
    if operator.angle == "cos":
        # While h is one value a position, this order leaves a single product of the output's size. The
        # projection comes first, here and below, because the first factor decides the memory format.
        return wide * (h * inverse)
    cosine = wide * inverse
    if projection.dtype != patch_norm.dtype:
        cosine = _trusted(cosine, projection.dtype)
    return operator.g(cosine, k, g_parameters, fan_in) * h


def _trusted(cosine: Tensor, dtype: torch.dtype) -> Tensor:
    """A cosine computed in half precision, `dtype`, held away from ±1, its derivative left alone.

    Nearer to ±1 it is all rounding, while the slope of the angle there grows without bound: it would multiply
    the gradient of nearly parallel patches by ten to fifty.
    """
    limit = 1.0 - torch.finfo(dtype).eps / 2
    fixed = cosine.detach()
    return fixed.clamp(-limit, limit) + (cosine - fixed)


def epilogue(
    z: Tensor,
    norm: Tensor,
    kernel_norm: MaybeTensor,
    gain: MaybeTensor,
    radius: MaybeTensor,
    bias: MaybeTensor,
    given_h: MaybeTensor,
    g_parameters: MaybeTensor,
    magnitude: str,
    angle: str,
    alpha: float,
    beta: float,
) -> Tensor:
    """The op ``epilogue``: ``gain · h(‖x‖) · g(z / (‖x‖‖w‖)) + bias`` for z of shape (B, C, *S).

    `given_h` (B, G, *S) takes the place of h, and `g_parameters` (G, P) are a learned angle's, in force, or
    the sharpnesses (C, 1) of an angle that has one. Without `kernel_norm` all of them are 1.
    """
    groups, dims = norm.shape[1], z.dim() - 2

    def column(value: Tensor) -> Tensor:
        return value.view(groups, -1, *[1] * dims)

    norm = norm.unsqueeze(2)
    cosine = z.to(norm.dtype).unflatten(1, (groups, -1))
    if kernel_norm is not None:
        cosine = cosine / column(kernel_norm)
    cosine = cosine / norm
    if z.dtype != norm.dtype and angles[angle].steep:
        cosine = _trusted(cosine, z.dtype)
    if given_h is None:
        size = magnitudes[magnitude].fn(norm, 1.0 if radius is None else column(radius), alpha, beta)
    else:
        size = alpha * given_h.unsqueeze(2)
    parameters: tuple[Tensor, ...] = ()
    if g_parameters is not None:
        by_channel = angles[angle].uses_k
        parameters = (
            column(g_parameters) if by_channel else g_parameters.view(groups, *[1] * (dims + 1), -1),
        )
    out = angles[angle].fn(cosine, *parameters) * size
    if gain is not None:
        out = out * column(gain)
    if bias is not None:
        out = out + column(bias)
    return out.flatten(1, 2).to(z.dtype)
