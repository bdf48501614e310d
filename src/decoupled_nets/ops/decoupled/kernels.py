"""Decoupled convolution on the compiled kernels: when they can run, and what goes into them.

However ``‖w‖`` and α count, they come down to one factor a kernel, the gain, and to the radius: the compiled
code knows nothing of weightings.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from .. import backend
from ..tensors import MaybeTensor
from .angle import angles
from .call import Form
from .composed import Response
from .derivative import Plan, convolution, patch_norm
from .magnitude import magnitudes
from .norm_cache import current_kernel_norm
from .operator import Value

# The functions the kernels implement, as they are on import: a user may put others in their place.
_MAGNITUDES = {name: magnitudes[name] for name in ("sphere", "ball", "tanh", "linear", "seg", "log", "mix")}
_ANGLES = {name: angles[name] for name in ("cos", "sqcos")}


def can_run(input: Tensor, weight: Tensor, form: Form) -> bool:
    """Whether the kernels take this convolution, here and now."""
    # An empty batch has gradients of zero whatever its constants are; factored as here, 0·∞ would come in.
    if not backend.eager_on("cpu", input, weight) or not input.numel():
        return False
    dtype = _conv_dtype(input)
    fits = dtype in backend.DTYPES and _conv_dtype(weight) == dtype
    return fits and _knows(form) and backend.usable()


def _knows(form: Form) -> bool:
    """Whether the kernels know the operator, in this use of it."""
    h, g = form.operator.magnitude, form.operator.angle
    if _MAGNITUDES.get(h) is not magnitudes[h] or _ANGLES.get(g) is not angles[g]:
        return False
    if h in ("seg", "mix") and any(
        isinstance(c, Tensor) for c in (form.constants.alpha, form.constants.beta)
    ):
        return False  # h is not proportional to α
    return form.weighting != "product" or h not in ("log", "mix")  # h(‖w‖‖x‖) has to follow from h(‖x‖)


def decoupled_conv(input: Tensor, weight: Tensor, bias: Tensor | None, form: Form) -> Tensor:
    """(B, C, *spatial) to (B, O, *S), where :func:`can_run`."""
    geometry = form.geometry
    if not geometry.symmetric:
        input = geometry.pad(input)
        geometry = dataclasses.replace(geometry, padding=((0, 0),) * len(geometry.padding))
    geometry.output_size(input.shape[2:])
    response = _response(form)
    # z is divided out of the output, which must not vanish with h nor be lost beside a bias.
    positive = response.alpha > 0 and (response.magnitude not in ("seg", "mix") or response.beta >= 0)
    plainly = bias is None and form.scale is None and not isinstance(form.constants.alpha, Tensor)
    plan = Plan(geometry, form.groups, form.eps, response, recoverable=positive and plainly)
    dtype = _conv_dtype(input)
    norm, x = patch_norm(input.to(dtype), plan)
    given = None if form.kernel_norm is None else form.kernel_norm.to(norm.dtype)
    w_norm = current_kernel_norm(weight, form.eps) if given is None else given
    gain, radius = _gain_and_radius(form, norm, w_norm)
    bias = None if bias is None else bias.to(norm.dtype)
    return convolution((x, weight.to(dtype), norm, w_norm, gain, radius, bias), plan)


def _conv_dtype(x: Tensor) -> torch.dtype:
    """The type in which a convolution takes `x`, autocast considered."""
    if x.dtype == torch.float64 or not torch.is_autocast_enabled("cpu"):
        return x.dtype
    return torch.get_autocast_dtype("cpu")


def _response(form: Form) -> Response:
    """The operator with its constants; an α that is a tensor counts through the gain instead."""
    operator = form.operator
    assert operator.alpha is not None
    assert operator.beta is not None

    def number(value: Value | None, own: float, otherwise: float) -> float:
        return otherwise if isinstance(value, Tensor) else own if value is None else float(value)

    alpha = number(form.constants.alpha, operator.alpha, 1.0)
    return Response(
        operator.magnitude, operator.angle, alpha, number(form.constants.beta, operator.beta, 1.0)
    )


def _gain_and_radius(form: Form, norm: Tensor, w_norm: Tensor) -> tuple[MaybeTensor, MaybeTensor]:
    """The factor of h and the radius of every kernel, both (O,)."""
    constants = form.constants.at(norm, len(w_norm))
    gain: MaybeTensor = None
    if isinstance(constants["alpha"], Tensor):
        gain = constants["alpha"].expand_as(w_norm)
    radius: Any = constants["radius"] if form.operator.uses_radius else None
    if radius is not None:
        radius = radius.expand_as(w_norm) if isinstance(radius, Tensor) else torch.full_like(w_norm, radius)
    factor: MaybeTensor = None
    if form.weighting == "linear":
        factor = w_norm
    elif form.weighting == "separate":
        factor = form.operator.h(w_norm, 1.0 if radius is None else radius, 1.0, constants["beta"])
    elif form.weighting == "product":
        # h(‖w‖‖x‖; ρ) = h(‖x‖; ρ/‖w‖), times ‖w‖ where h is not bounded by a constant.
        factor = w_norm if form.operator.magnitude in ("linear", "seg") else None
        radius = None if radius is None else _quotient(radius, w_norm)
    for more in (factor, None if form.scale is None else form.scale.to(w_norm.dtype)):
        if more is not None:
            gain = more if gain is None else gain * more
    return gain, radius


def _quotient(radius: Tensor, w_norm: Tensor) -> Tensor:
    """ρ/‖w‖. An infinite ρ takes part in nothing, and gives ‖w‖ a gradient of 0 instead of 0·∞."""
    infinite = radius.isinf()
    return torch.where(infinite, radius, radius.masked_fill(infinite, 1.0) / w_norm)
