"""Magnitude functions ``h``: how much a patch's size counts (Decoupled Networks, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._registry import Registry
from . import learned
from .learned import Learned

Value = Tensor | float
MagnitudeFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class Magnitude:
    """A magnitude function with its default constants and everything that others go by.

    Attributes:
        fn: ``fn(norm, radius, alpha, beta) -> h``; a learned one takes its parameters behind these.
        alpha: default of α.
        beta: default of β.
        bounded: ``|h|`` never exceeds α.
        smooth: its derivative is continuous.
        uses_radius: it depends on ρ.
        uses_beta: it depends on β.
        proportional: it is proportional to α.
        degree: d where ``h(c‖x‖; cρ) = cᵈ h(‖x‖; ρ)`` for every c > 0, or None.
        may_vanish: with α > 0 it can be zero or less, where β is negative.
        kernel: kernels are written for it; ``csrc/decoupled/cpu/response.h`` has the CPU's.
        learned: its parameters, if it has any; ρ is then one number a layer, and not learned.
    """

    fn: MagnitudeFunction
    alpha: float = 1.0
    beta: float = 1.0
    bounded: bool = False
    smooth: bool = True
    uses_radius: bool = True
    uses_beta: bool = True
    proportional: bool = False
    degree: int | None = None
    may_vanish: bool = True
    kernel: bool = False
    learned: Learned | None = None


magnitudes: Registry[Magnitude] = Registry("magnitude")


def register_magnitude(
    name: str,
    fn: MagnitudeFunction,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    bounded: bool = False,
    smooth: bool = True,
    uses_radius: bool = True,
    uses_beta: bool = True,
) -> None:
    """Make ``h`` available under `name` to every operator, layer, comparison and plot.

    Args:
        name: lower-case identifier; the first half of an operator's shorthand ``"<name>-cos"``.
        fn: ``fn(norm, radius, alpha, beta) -> h``, elementwise and differentiable. `norm` is a positive
            tensor; the others are tensors that broadcast with it, or floats.
        alpha: default of the constant α.
        beta: default of the constant β.
        bounded: whether ``|h|`` stays within `alpha`.
        smooth: whether the derivative of ``h`` is continuous.
        uses_radius: whether ``h`` depends on `radius`; if not, layers hold no radius for it.
        uses_beta: whether ``h`` depends on `beta`; if not, setting it warns.

    Raises:
        ValueError: the name is taken or malformed.
        TypeError: `fn` is not callable.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> dn.register_magnitude("root", lambda norm, radius, alpha, beta: alpha * (norm / radius).sqrt())
        >>> dn.DecoupledConv2d(3, 8, 3, operator="root-cos")(torch.rand(1, 3, 8, 8)).shape
        torch.Size([1, 8, 6, 6])
        >>> dn.unregister_magnitude("root")
    """
    if not callable(fn):
        raise TypeError(
            f"magnitude {name!r}: {type(fn).__name__} received; needed: "
            "a function of (norm, radius, alpha, beta)"
        )
    entry = Magnitude(fn, float(alpha), float(beta), bounded, smooth, uses_radius, uses_beta)
    magnitudes.add(name, entry)


def unregister_magnitude(name: str) -> None:
    """Forget a registered magnitude function.

    Raises:
        ValueError: there is none of that name.
    """
    magnitudes.remove(name)


# With a radius per channel h has the size of the output, where each product is a pass over memory: constants
# are combined among themselves first, and a factor of 1 is left out. Of few operations, a compiler computes h
# again rather than write it down (compiled.py).
def _scaled(alpha: Value, h: Tensor) -> Tensor:
    return h if isinstance(alpha, float) and alpha == 1.0 else alpha * h


def _sphere(norm: Tensor, radius: Value, alpha: Value, beta: Value) -> Tensor:
    return alpha * torch.ones_like(norm)


def _ball(norm: Tensor, radius: Value, alpha: Value, beta: Value) -> Tensor:
    return _scaled(alpha, norm.clamp(max=radius) / radius)


def _tanh(norm: Tensor, radius: Value, alpha: Value, beta: Value) -> Tensor:
    return _scaled(alpha, torch.tanh(norm / radius))


def _linear(norm: Tensor, radius: Value, alpha: Value, beta: Value) -> Tensor:
    return _scaled(alpha, norm)


def _seg(norm: Tensor, radius: Value, alpha: Value, beta: Value) -> Tensor:
    return _scaled(beta, norm) + (alpha - beta) * norm.clamp(max=radius)


def _log(norm: Tensor, radius: Value, alpha: Value, beta: Value) -> Tensor:
    return _scaled(alpha, torch.log1p(norm))


def _mix(norm: Tensor, radius: Value, alpha: Value, beta: Value) -> Tensor:
    return _scaled(alpha, norm) + _scaled(beta, torch.log1p(norm))


def _power(norm: Tensor, radius: Value, alpha: Value, beta: Value, parameters: Tensor) -> Tensor:
    return _scaled(alpha, learned.power_of_size(norm, radius, parameters))


def _spline(norm: Tensor, radius: Value, alpha: Value, beta: Value, parameters: Tensor) -> Tensor:
    return _scaled(alpha, learned.spline_of_size(norm, radius, parameters))


# What has kernels. A function in three files: here, in reference.py and in csrc/decoupled/cpu/response.h.
_FIXED: dict[str, Any] = {"uses_radius": False, "uses_beta": False}
_OF_ALPHA: dict[str, Any] = {"proportional": True, "may_vanish": False, "kernel": True}
for _name, _entry in {
    "sphere": Magnitude(_sphere, bounded=True, degree=0, **_FIXED, **_OF_ALPHA),
    "ball": Magnitude(_ball, bounded=True, smooth=False, uses_beta=False, degree=0, **_OF_ALPHA),
    "tanh": Magnitude(_tanh, bounded=True, uses_beta=False, degree=0, **_OF_ALPHA),
    "linear": Magnitude(_linear, degree=1, **_FIXED, **_OF_ALPHA),
    "seg": Magnitude(_seg, beta=0.5, smooth=False, degree=1, kernel=True),
    "log": Magnitude(_log, **_FIXED, **_OF_ALPHA),
    "mix": Magnitude(_mix, uses_radius=False, kernel=True),
}.items():
    magnitudes.add(_name, _entry)
_LEARNED: dict[str, Any] = {"uses_beta": False, "degree": 0, **_OF_ALPHA}
magnitudes.add("power", Magnitude(_power, learned=learned.POWER_OF_H, **_LEARNED))
magnitudes.add("spline", Magnitude(_spline, smooth=False, learned=learned.SPLINE_OF_H, **_LEARNED))
