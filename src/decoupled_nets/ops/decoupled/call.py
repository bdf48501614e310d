"""The arguments of the decoupled functions in one piece, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..geometry import Geometry
from ..tensors import check_devices
from .operator import WEIGHTINGS, Operator, Value, Weighting


@dataclass(frozen=True)
class Constants:
    """ρ, α, β and k as they were given; None takes the operator's own."""

    radius: Value | Callable[[Tensor], Value]
    alpha: Value | None
    beta: Value | None
    k: Value | None

    def at(self, norm: Tensor, channels: int) -> dict[str, Any]:
        """The constants for patches of the given norms, as numbers or tensors of shape () or (channels,).

        Raises:
            ValueError: one has another shape, or is not positive where it has to be.
        """
        radius = self.radius(norm) if callable(self.radius) else self.radius
        if isinstance(radius, Tensor):
            check_devices(input=norm, radius=radius)
        given = {"radius": radius, "alpha": self.alpha, "beta": self.beta, "k": self.k}
        return {name: _constant(name, value, channels, norm.dtype) for name, value in given.items()}


@dataclass(frozen=True)
class Form:
    """Everything about a decoupled convolution but its input, weight and bias."""

    geometry: Geometry
    groups: int
    operator: Operator
    weighting: Weighting | None
    constants: Constants
    eps: float
    scale: Tensor | None = None
    kernel_norm: Tensor | None = None


def check_common(
    input: Tensor, weight: Tensor, bias: Tensor | None, weighting: str | None, eps: float, **others: Any
) -> None:
    """What convolutions and the linear layer ask alike; `others` may be tensors on the same device."""
    if not input.is_floating_point():
        raise TypeError(f"input of type {input.dtype} received, a floating point type needed")
    if weighting is not None and weighting not in WEIGHTINGS:
        raise ValueError(f"weighting {weighting!r} received, None or one of {WEIGHTINGS} needed")
    if not eps > 0:
        raise ValueError(f"eps = {eps} received, a positive number needed: it keeps norms away from zero")
    check_per_kernel(weight, bias=bias)
    constants = {name: value for name, value in others.items() if isinstance(value, Tensor)}
    check_devices(input=input, weight=weight, bias=bias, **constants)


def check_per_kernel(weight: Tensor, **given: Tensor | None) -> None:
    """Tensors with one entry a kernel."""
    for name, value in given.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{name} = {value!r} received, a tensor of shape ({weight.shape[0]},) needed")
        if value is not None and value.shape != weight.shape[:1]:
            raise ValueError(f"{name} of shape {tuple(value.shape)} received, ({weight.shape[0]},) needed")


def check_conv(input: Tensor, weight: Tensor, groups: int) -> None:
    """The shapes of a convolution."""
    dims = weight.dim() - 2
    if dims not in (1, 2, 3):
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


def check_linear(input: Tensor, weight: Tensor) -> None:
    """The shapes of a linear layer."""
    if weight.dim() != 2 or input.dim() == 0 or input.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"input of shape {tuple(input.shape)} and weight of shape {tuple(weight.shape)} received, "
            "(..., C) and (O, C) needed"
        )


def _constant(name: str, value: Value | None, channels: int, dtype: torch.dtype) -> Value | None:
    if not isinstance(value, Tensor):
        if value is not None and name in ("radius", "k") and not value > 0:
            raise ValueError(f"{name} = {value} received, a positive number needed")
        return value
    if value.numel() == 1:
        return value.to(dtype).reshape(())
    if value.shape != (channels,):
        raise ValueError(f"{name} of shape {tuple(value.shape)} received, () or ({channels},) needed")
    return value.to(dtype)
