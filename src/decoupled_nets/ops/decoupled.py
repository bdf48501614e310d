"""Decoupled convolution as functions on tensors.

Shapes: B batch, G groups, C input channels, O output channels, K kernel sizes, S spatial output sizes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import Geometry, IntOrInts
from .operator import WEIGHTINGS, Operator, Value, Weighting, resolve_operator

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type in which norms, cosines and magnitudes are computed: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def kernel_norm(weight: Tensor, eps: float = 1e-4) -> Tensor:
    """``sqrt(Σ w² + eps)`` of every kernel: (O, C/G, *K) to (O,), in float32 or float64."""
    wide = weight.to(accumulation_dtype(weight.dtype))
    return (wide.flatten(1).square().sum(1) + eps).sqrt()


def patch_norm(input: Tensor, geometry: Geometry, groups: int = 1, eps: float = 1e-4) -> Tensor:
    """``sqrt(Σ x² + eps)`` of every patch: (B, C, *spatial) to (B, G, *S), in float32 or float64.

    The squares are summed over channels first and then over the window one dimension at a time, so the cost
    is one pass over the input.
    """
    geometry.output_size(input.shape[2:])
    wide = input.to(accumulation_dtype(input.dtype))
    total = wide.square().unflatten(1, (groups, -1)).sum(2)
    total = geometry.pad(total)
    for axis, (k, stride, dilation) in enumerate(
        zip(geometry.kernel, geometry.stride, geometry.dilation, strict=True)
    ):
        total = _window_sum(total, 2 + axis, k, stride, dilation)
    return (total + eps).sqrt()


def _window_sum(x: Tensor, dim: int, kernel: int, stride: int, dilation: int) -> Tensor:
    count = (x.shape[dim] - dilation * (kernel - 1) - 1) // stride + 1
    before = (slice(None),) * dim
    taps = [
        x[(*before, slice(t * dilation, t * dilation + (count - 1) * stride + 1, stride))]
        for t in range(kernel)
    ]
    total = taps[0]
    for tap in taps[1:]:
        total = total + tap
    return total


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

    Returns:
        (B, O, *S) or (O, *S), of the type a plain convolution would give.

    Raises:
        ValueError: shapes or options do not fit.
        TypeError: the input is not floating point.

    Source: W. Liu et al., "Decoupled Networks", CVPR 2018, Eq. 3.
    """
    operator = resolve_operator(operator)
    dims = weight.dim() - 2
    _check_common(input, weight, bias, weighting, eps)
    _check_conv(input, weight, groups)
    if input.dim() == dims + 1:
        batched = decoupled_conv(
            input.unsqueeze(0), weight, bias, stride, padding, dilation, groups, operator=operator,
            radius=radius, weighting=weighting, alpha=alpha, beta=beta, k=k, eps=eps,
        )  # fmt: skip
        return batched.squeeze(0)
    geometry = Geometry.of(weight.shape[2:], stride, padding, dilation)
    norm = patch_norm(input, geometry, groups, eps)
    w_norm = kernel_norm(weight, eps)
    unit = (weight / w_norm.view(-1, *[1] * (dims + 1))).to(weight.dtype)
    if geometry.symmetric:
        pads = tuple(before for before, _ in geometry.padding)
        z = _CONV[dims](input, unit, None, geometry.stride, pads, geometry.dilation, groups)
    else:
        z = _CONV[dims](geometry.pad(input), unit, None, geometry.stride, 0, geometry.dilation, groups)

    def per_channel(name: str, value: Value | None) -> Value | None:
        return _per_channel(name, value, weight.shape[0], groups, dims, norm.dtype)

    radius_ = per_channel("radius", radius(norm) if callable(radius) else radius)
    assert radius_ is not None
    out = apply_operator(
        z.unflatten(1, (groups, -1)),
        norm.unsqueeze(2),
        w_norm.view(groups, -1, *[1] * dims),
        operator,
        radius=radius_,
        weighting=weighting,
        alpha=per_channel("alpha", alpha),
        beta=per_channel("beta", beta),
        k=per_channel("k", k),
    )
    if bias is not None:
        out = out + bias.to(norm.dtype).view(groups, -1, *[1] * dims)
    return out.flatten(1, 2).to(z.dtype)


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

    Returns:
        (..., O).

    Raises:
        ValueError: shapes or options do not fit.
        TypeError: the input is not floating point.
    """
    operator = resolve_operator(operator)
    _check_common(input, weight, bias, weighting, eps)
    _check_linear(input, weight)
    norm = vector_norm(input, eps)
    w_norm = kernel_norm(weight, eps)
    z = F.linear(input, (weight / w_norm.unsqueeze(1)).to(weight.dtype))

    def per_channel(name: str, value: Value | None) -> Value | None:
        value = _per_channel(name, value, weight.shape[0], 1, 0, norm.dtype)
        return value.flatten() if isinstance(value, Tensor) and value.dim() else value

    radius_ = per_channel("radius", radius(norm) if callable(radius) else radius)
    assert radius_ is not None
    out = apply_operator(
        z, norm, w_norm, operator, radius=radius_, weighting=weighting,
        alpha=per_channel("alpha", alpha), beta=per_channel("beta", beta), k=per_channel("k", k),
    )  # fmt: skip
    if bias is not None:
        out = out + bias.to(norm.dtype)
    return out.to(z.dtype)


def vector_norm(input: Tensor, eps: float = 1e-4) -> Tensor:
    """``sqrt(Σ x² + eps)`` over the last dimension: (..., C) to (..., 1), in float32 or float64."""
    wide = input.to(accumulation_dtype(input.dtype))
    return (wide.square().sum(-1, keepdim=True) + eps).sqrt()


def _per_channel(
    name: str, value: Value | None, channels: int, groups: int, dims: int, dtype: torch.dtype
) -> Value | None:
    if not isinstance(value, Tensor):
        if value is not None and name in ("radius", "k") and not value > 0:
            raise ValueError(f"{name} = {value} received, a positive number needed")
        return value
    if value.numel() == 1:
        return value.to(dtype).reshape(())
    if value.shape != (channels,):
        raise ValueError(f"{name} of shape {tuple(value.shape)} received, () or ({channels},) needed")
    return value.to(dtype).view(groups, -1, *[1] * dims)


def _check_common(
    input: Tensor, weight: Tensor, bias: Tensor | None, weighting: str | None, eps: float
) -> None:
    if not input.is_floating_point():
        raise TypeError(f"input of type {input.dtype} received, a floating point type needed")
    if weighting is not None and weighting not in WEIGHTINGS:
        raise ValueError(f"weighting {weighting!r} received, None or one of {WEIGHTINGS} needed")
    if not eps > 0:
        raise ValueError(f"eps = {eps} received, a positive number needed: it keeps norms away from zero")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias of shape {tuple(bias.shape)} received, ({weight.shape[0]},) needed")


def _check_conv(input: Tensor, weight: Tensor, groups: int) -> None:
    dims = weight.dim() - 2
    if dims not in _CONV:
        raise ValueError(f"weight of shape {tuple(weight.shape)} received, 3 to 5 dimensions needed")
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"groups = {groups} received, a divisor of the {weight.shape[0]} kernels needed")
    if input.dim() not in (dims + 1, dims + 2):
        raise ValueError(
            f"input of shape {tuple(input.shape)} received, {dims + 1} or {dims + 2} dimensions needed"
        )
    channels = weight.shape[1] * groups
    if input.shape[-dims - 1] != channels:
        raise ValueError(
            f"input of shape {tuple(input.shape)} received, {channels} channels needed "
            f"for a weight of shape {tuple(weight.shape)} and {groups} groups"
        )


def _check_linear(input: Tensor, weight: Tensor) -> None:
    if weight.dim() != 2 or input.dim() == 0 or input.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"input of shape {tuple(input.shape)} and weight of shape {tuple(weight.shape)} received, "
            "(..., C) and (O, C) needed"
        )
