"""The kernels' ops made of ATen's, by the ops' own signatures.

They run where there are no kernels (CUDA and every other device) and are what the ops decompose to. Both
happen below autograd, so that derivatives are written out here.

Shapes: B batch, G groups, C channels, S spatial sizes. Norms are (B, G, *S), everything per channel (C,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import norms
from ..geometry import Geometry
from ..tensors import MaybeTensor, arranged
from . import composed as twins
from .composed import Response


def geometry_of(kernel: list[int], stride: list[int], padding: list[int], dilation: list[int]) -> Geometry:
    """The geometry that the ops take as lists, paddings as before, after, before, ..."""
    pairs = tuple(zip(padding[::2], padding[1::2], strict=True))
    return Geometry(tuple(kernel), tuple(stride), pairs, tuple(dilation))


def patch_norm(
    input: Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    eps: float,
) -> Tensor:
    """``sqrt(Σ x² + eps)`` of every patch."""
    return norms.patch_norm(input, geometry_of(kernel, stride, padding, dilation), groups, eps).contiguous()


def patch_norm_backward(grad: Tensor, input: Tensor, norm: Tensor, *geometry: list[int]) -> Tensor:
    """Gradient of the patch norms with respect to their input."""
    return arranged(twins.patch_norm_backward(grad, input, norm, geometry_of(*geometry)), input)


def patch_norm_backward_(
    grad_input: Tensor, grad: Tensor, input: Tensor, norm: Tensor, *geometry: list[int]
) -> None:
    """Adds :func:`patch_norm_backward` to `grad_input`, rounded once."""
    by_norm = twins.patch_norm_backward(grad, input.to(norm.dtype), norm, geometry_of(*geometry))
    grad_input.copy_(grad_input.to(norm.dtype) + by_norm)


def epilogue(
    z: Tensor,
    norm: Tensor,
    kernel_norm: Tensor,
    gain: MaybeTensor,
    radius: MaybeTensor,
    bias: MaybeTensor,
    *operator: Any,
) -> Tensor:
    """``gain · h(‖x‖) · g(z / (‖x‖‖w‖)) + bias``."""
    out = twins.epilogue(Response(*operator), z, norm, kernel_norm, gain, radius, bias)
    return arranged(out, z)


def epilogue_(z: Tensor, *others: Any) -> None:
    """:func:`epilogue` in place of `z`."""
    z.copy_(epilogue(z, *others))


def epilogue_backward(
    grad: Tensor,
    value: Tensor,
    norm: Tensor,
    kernel_norm: Tensor,
    gain: MaybeTensor,
    radius: MaybeTensor,
    magnitude: str,
    angle: str,
    alpha: float,
    beta: float,
    from_output: bool,
) -> tuple[Tensor, ...]:
    """Gradients by z, norm, kernel_norm, gain, radius and bias; `value` is z, or the output without bias."""
    groups, dims = norm.shape[1], value.dim() - 2

    def column(given: MaybeTensor) -> Tensor:
        given = torch.ones_like(kernel_norm) if given is None else given
        return given.view(groups, -1, *[1] * dims)

    def split(x: Tensor) -> Tensor:
        return x.to(norm.dtype).unflatten(1, (groups, -1))

    inverse, w_norm, factor = norm.unsqueeze(2).reciprocal(), column(kernel_norm), column(gain)
    h, by_norm, by_radius = _SLOPES[magnitude](norm.unsqueeze(2), column(radius), alpha, beta)
    degree = {"cos": 1, "sqcos": 2}[angle]
    if from_output:
        g = split(value) / (h * factor)
        slope = 1.0 if degree == 1 else 2.0 * g.abs().sqrt()
    else:
        cosine = split(value) / w_norm * inverse
        g, slope = (cosine, 1.0) if degree == 1 else (cosine * cosine.abs(), 2.0 * cosine.abs())
    wide = split(grad)
    share = wide * g

    def total(x: Tensor) -> Tensor:
        return x.sum((0, *range(3, x.dim()))).flatten()

    by_gain = total(share * h)
    return (
        arranged((wide * h * factor * slope / w_norm * inverse).flatten(1, 2).to(value.dtype), value),
        (share * factor * (by_norm - degree * h * inverse)).sum(2).contiguous(),
        by_gain * (-degree) * factor.flatten() / kernel_norm,
        by_gain,
        total(share * factor * by_radius),
        total(wide),
    )


Slopes = tuple[Tensor, Tensor | float, Tensor | float]


def _ball(norm: Tensor, radius: Tensor, alpha: float, beta: float) -> Slopes:
    outside = norm > radius  # not for a NaN
    slope = alpha / radius
    return (
        norm.clamp(max=radius) * slope, torch.where(outside, 0.0, slope),
        torch.where(outside, 0.0, -norm * slope / radius),
    )  # fmt: skip


def _tanh(norm: Tensor, radius: Tensor, alpha: float, beta: float) -> Slopes:
    ratio = norm / radius
    # Not 1 - tanh², which has lost every digit where tanh is nearly 1.
    slope = alpha * torch.cosh(ratio).reciprocal().square() / radius
    # The slope vanishes long before the cut, which keeps an infinite ratio from giving 0·∞.
    return alpha * torch.tanh(ratio), slope, -slope * ratio.clamp(max=1e6)


def _seg(norm: Tensor, radius: Tensor, alpha: float, beta: float) -> Slopes:
    inside = norm < radius
    step = alpha - beta
    h = torch.where(inside, alpha * norm, beta * norm + step * radius)
    return h, beta + step * inside.to(norm.dtype), step * (~inside).to(norm.dtype)


#: h with its derivatives by the norm and by the radius.
_SLOPES: dict[str, Callable[[Tensor, Tensor, float, float], Slopes]] = {
    "sphere": lambda norm, radius, a, b: (torch.full_like(norm, a), 0.0, 0.0),
    "ball": _ball,
    "tanh": _tanh,
    "linear": lambda norm, radius, a, b: (a * norm, a, 0.0),
    "seg": _seg,
    "log": lambda norm, radius, a, b: (a * norm.log1p(), a / (1.0 + norm), 0.0),
    "mix": lambda norm, radius, a, b: (a * norm + b * norm.log1p(), a + b / (1.0 + norm), 0.0),
}
