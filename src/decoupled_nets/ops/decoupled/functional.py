"""Decoupled convolution as functions on tensors.

Shapes: B batch, G groups, C input channels, O output channels, K kernel sizes, S spatial output sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry import Geometry, IntOrInts
from ..norms import patch_norm, vector_norm
from . import kernels
from .call import Constants, Form, check_common, check_conv, check_linear, check_per_kernel
from .norm_cache import current_kernel_norm
from .operator import Operator, Value, Weighting, resolve_operator

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


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
    """
    size = patch_norm * kernel_norm if weighting == "product" else patch_norm
    h = operator.h(size, radius, alpha, beta)
    if weighting == "linear":
        h = h * kernel_norm
    elif weighting == "separate":
        h = h * operator.h(kernel_norm, radius, 1.0, beta)
    wide = projection.to(patch_norm.dtype)
    inverse = patch_norm.reciprocal()
    if operator.angle == "cos":
        # While h is one value a position, this order leaves a single product of the output's size. The
        # projection comes first, here and below, because the first factor decides the memory format.
        return wide * (h * inverse)
    cosine = wide * inverse
    if projection.dtype != patch_norm.dtype:
        cosine = _trusted(cosine, 1.0 - torch.finfo(projection.dtype).eps / 2)
    return operator.g(cosine, k) * h


def _trusted(cosine: Tensor, limit: float) -> Tensor:
    """`cosine` held within ±limit, its derivative left alone.

    Nearer to ±1 a cosine computed in half precision is all rounding, while the slope of the angle there
    grows without bound: it would multiply the gradient of nearly parallel patches by ten to fifty.
    """
    fixed = cosine.detach()
    return fixed.clamp(-limit, limit) + (cosine - fixed)


def decoupled_conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrInts = 1,
    padding: IntOrInts | str = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    *,
    operator: Operator | str = "tanh-cos",
    radius: Value | Callable[[Tensor], Value] = 1.0,
    weighting: Weighting | None = None,
    alpha: Value | None = None,
    beta: Value | None = None,
    k: Value | None = None,
    eps: float = 1e-4,
    scale: Tensor | None = None,
    kernel_norm: Tensor | None = None,
) -> Tensor:
    """Decoupled convolution in one, two or three dimensions, by the dimension of `weight`.

    Every patch x and kernel w give ``h(‖x‖) · g(θ)`` instead of ``‖w‖ ‖x‖ cos θ``.

    Args:
        input: (B, C, *spatial) or (C, *spatial), floating point.
        weight: (O, C/G, *K).
        bias: (O,), added after the operator.
        stride: as in ``torch.nn.functional.conv2d``.
        padding: zeros around the input: a number, one a dimension, ``"same"`` or ``"valid"``.
        dilation: as in ``torch.nn.functional.conv2d``.
        groups: as in ``torch.nn.functional.conv2d``; each group has its own patch norm.
        operator: an :class:`Operator` or its shorthand.
        radius: ρ > 0: a number, a tensor with one or O entries, or a function that gives it from the patch
            norms (B, G, *S).
        weighting: None, ``"linear"``, ``"product"`` (Eq. 15) or ``"separate"`` (Eq. 16).
        alpha: α in place of the operator's own: a number, or a tensor with one or O entries.
        beta: β, likewise.
        k: sharpness of the sigmoid angle, likewise.
        eps: added to the squared norms under the root.
        scale: (O,), multiplies the response before the bias is added.
        kernel_norm: (O,), ``sqrt(‖w‖² + eps)`` if it is known already.

    Returns:
        (B, O, *S) or (O, *S), of the type a plain convolution would give.

    Raises:
        ValueError: shapes or options do not fit, or a tensor is on another device than the input.
        TypeError: the input is not floating point.

    Source: W. Liu et al., "Decoupled Networks", CVPR 2018, Eq. 3.
    """
    operator = resolve_operator(operator)
    dims = weight.dim() - 2
    others = {"alpha": alpha, "beta": beta, "k": k, "scale": scale, "kernel_norm": kernel_norm}
    check_common(input, weight, bias, weighting, eps, **others)
    check_per_kernel(weight, scale=scale, kernel_norm=kernel_norm)
    check_conv(input, weight, groups)
    if input.dim() == dims + 1:
        batched = decoupled_conv(
            input.unsqueeze(0), weight, bias, stride, padding, dilation, groups, operator=operator,
            radius=radius, weighting=weighting, alpha=alpha, beta=beta, k=k, eps=eps, scale=scale,
            kernel_norm=kernel_norm,
        )  # fmt: skip
        return batched.squeeze(0)
    geometry = Geometry.of(weight.shape[2:], stride, padding, dilation)
    constants = Constants(radius, alpha, beta, k)
    form = Form(geometry, groups, operator, weighting, constants, eps, scale, kernel_norm)
    conv = kernels.decoupled_conv if kernels.can_run(input, weight, form) else _composed_conv
    return conv(input, weight, bias, form)


def _composed_conv(input: Tensor, weight: Tensor, bias: Tensor | None, form: Form) -> Tensor:
    dims, groups, geometry = weight.dim() - 2, form.groups, form.geometry
    norm = patch_norm(input, geometry, groups, form.eps)
    unit, w_norm = _unit_kernels(weight, form.kernel_norm, form.eps)
    if geometry.symmetric:
        pads = tuple(before for before, _ in geometry.padding)
        z = _CONV[dims](input, unit, None, geometry.stride, pads, geometry.dilation, groups)
    else:
        z = _CONV[dims](geometry.pad(input), unit, None, geometry.stride, 0, geometry.dilation, groups)

    def column(value: Any) -> Any:
        return value.view(groups, -1, *[1] * dims) if isinstance(value, Tensor) and value.dim() else value

    constants = form.constants.at(norm, weight.shape[0])
    out = apply_operator(
        z.unflatten(1, (groups, -1)),
        norm.unsqueeze(2),
        w_norm.view(groups, -1, *[1] * dims),
        form.operator,
        weighting=form.weighting,
        **{name: column(value) for name, value in constants.items()},
    )
    if form.scale is not None:
        out = out * column(form.scale.to(norm.dtype))
    if bias is not None:
        out = out + column(bias.to(norm.dtype))
    return out.flatten(1, 2).to(z.dtype)


def _unit_kernels(weight: Tensor, norm: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """``w/‖w‖`` and ‖w‖ (O,), which may be known."""
    norm = current_kernel_norm(weight, eps) if norm is None else norm
    return (weight / norm.view(-1, *[1] * (weight.dim() - 1))).to(weight.dtype), norm


def decoupled_linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    operator: Operator | str = "tanh-cos",
    radius: Value | Callable[[Tensor], Value] = 1.0,
    weighting: Weighting | None = None,
    alpha: Value | None = None,
    beta: Value | None = None,
    k: Value | None = None,
    eps: float = 1e-4,
    scale: Tensor | None = None,
    kernel_norm: Tensor | None = None,
) -> Tensor:
    """Decoupled form of a linear layer: the patch is the whole feature vector.

    Args:
        input: (..., C).
        weight: (O, C).
        bias: (O,).
        operator: as in :func:`decoupled_conv`, like the remaining arguments.
        radius: ρ.
        weighting: use of ``‖w‖``.
        alpha: α.
        beta: β.
        k: sharpness.
        eps: added to the squared norms under the root.
        scale: (O,), multiplies the response before the bias is added.
        kernel_norm: (O,), ``sqrt(‖w‖² + eps)`` if it is known already.

    Returns:
        (..., O).

    Raises:
        ValueError: shapes or options do not fit, or a tensor is on another device than the input.
        TypeError: the input is not floating point.
    """
    operator = resolve_operator(operator)
    others = {"alpha": alpha, "beta": beta, "k": k, "scale": scale, "kernel_norm": kernel_norm}
    check_common(input, weight, bias, weighting, eps, **others)
    check_per_kernel(weight, scale=scale, kernel_norm=kernel_norm)
    check_linear(input, weight)
    norm = vector_norm(input, eps)
    unit, w_norm = _unit_kernels(weight, kernel_norm, eps)
    z = F.linear(input, unit)

    constants = Constants(radius, alpha, beta, k).at(norm, weight.shape[0])
    out = apply_operator(z, norm, w_norm, operator, weighting=weighting, **constants)
    if scale is not None:
        out = out * scale.to(norm.dtype)
    if bias is not None:
        out = out + bias.to(norm.dtype)
    return out.to(z.dtype)
