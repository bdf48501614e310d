"""Halves of an operator that are learned from data: powers and piecewise linear functions.

A learned magnitude is a function of u = ‖x‖/ρ, a learned angle one of t = √d cos θ, where ρ is one number a
layer and d the size of a patch: the cosines of patches with kernels are about 1/√d, and a function of the
cosine itself would be learned where there is no data. The parameters are shared by all channels of a layer,
or by those of a group.

Source: "Decoupled Networks" learns the radius of an operator; learning the functions themselves, and their
forms, are our own. Piecewise linear functions with slopes as parameters: P. Bohra et al., "Learning
Activation Functions in Deep (Spline) Neural Networks", 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

#: Pieces of a spline magnitude, their width in u; the last one goes on without end.
PIECES, WIDTH = 16, 0.2
#: Pieces of a spline angle, each of width 1 in t; the last one goes on without end.
TURNS = 4
#: What the exponents may be.
EXPONENT_OF_H, EXPONENT_OF_G = (0.0, 1.5), (0.5, 3.0)
#: ``sqrt(t² + this)`` takes the place of |t|: powers below 1 keep a finite slope at 0.
ROUNDED = 1e-3
#: The least ``E[g²]`` that a spline angle is divided by.
_LEAST = 1e-6
#: What may be asked of splines.
CONSTRAINTS = ("monotone", "bounded")


class Limits(NamedTuple):
    """What parameters are held to: constraints by name, and the steepest slope."""

    constraints: tuple[str, ...] = ()
    lipschitz: float | None = None


@dataclass(frozen=True)
class Learned:
    """The parameters of a half.

    Attributes:
        count: how many a group of channels has.
        start: from the function to start as, of u or of t, the parameters.
        effective: from the parameters as they are learned (..., count), those in force.
        slopes: whether they are slopes of a spline, which :class:`Limits` concern.
    """

    count: int
    start: Callable[[Callable[[Tensor], Tensor]], Tensor]
    effective: Callable[[Tensor, Limits], Tensor]
    slopes: bool = False


def falls_into(rows: int, channels: int, groups: int) -> bool:
    """Whether the output channels of a convolution of so many groups can learn in so many rows."""
    return rows > 0 and channels % rows == 0 and (rows % groups == 0 or groups % rows == 0)


class _Held(torch.autograd.Function):
    """`value` within its bounds. Outside, only a gradient passes that leads back."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, low: float, high: float) -> Tensor:
        return value.clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
        value, ctx.low, ctx.high = inputs
        ctx.save_for_backward(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (value,) = ctx.saved_tensors
        # A step goes against the gradient.
        grad = torch.where((value < ctx.low) & (grad > 0), 0.0, grad)
        return torch.where((value > ctx.high) & (grad < 0), 0.0, grad), None, None


class _HeldForwards(_Held):
    """With a derivative in forward mode, for which compilers refuse a function."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
        _Held.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        (value,) = ctx.saved_tensors
        # Forward mode has no gradient that could lead back.
        return torch.where((value < ctx.low) | (value > ctx.high), 0.0, tangent)


def held(value: Tensor, low: float | None, high: float | None) -> Tensor:
    """`value` within its bounds. At and beyond them a gradient passes that leads back, and no other."""
    function = _Held if torch.compiler.is_compiling() else _HeldForwards
    held_value: Tensor = function.apply(
        value, -math.inf if low is None else low, math.inf if high is None else high
    )
    return held_value


def _points(*values: float) -> Tensor:
    # On the processor, whatever torch.device is in force: networks are also built on the meta device.
    return torch.tensor(values, dtype=torch.float64, device="cpu")


# Powers. ---------------------------------------------------------------------------------------------------
def power_of_size(norm: Tensor, radius: Tensor | float, parameters: Tensor) -> Tensor:
    """``u^q``; parameters (..., 1) broadcast with the norms."""
    return _power(norm / radius, parameters[..., 0])


def power_of_turn(turn: Tensor, parameters: Tensor) -> Tensor:
    """``t (t² + δ)^((p − 1)/2)``, about ``sgn(t) |t|^p``."""
    return turn * _power(turn * turn + ROUNDED, 0.5 * (parameters[..., 0] - 1))


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    """``base^exponent`` whose second derivatives are right where the exponent is exactly 0, as many start.

    torch's derivative of a power by its base is the number 0 there, which the exponent no longer changes. The
    exponential does not lose it, but digits of large powers. Each has an exponent of its own that is safe
    where the other counts: a derivative that is not finite would be one even times 0. Exported programs, of
    which nobody takes second derivatives, have the power alone.
    """
    derived = torch.is_grad_enabled() or forward_ad._current_level >= 0
    if not derived or torch.compiler.is_exporting():
        return base**exponent
    still = exponent == 0
    at_0 = torch.where(still, exponent, 0.0) * base.clamp(min=torch.finfo(base.dtype).tiny).log()
    return torch.where(still, at_0.exp(), base ** torch.where(still, 1.0, exponent))


def _log_slope(values: Tensor, at: Tensor) -> Tensor:
    """The exponent of the power through two values; NaN if one is not positive, as that of a power is."""
    return values.where(values > 0, math.nan).log().diff() / at.log().diff()


def _start_exponent_of_h(fn: Callable[[Tensor], Tensor]) -> Tensor:
    at = _points(0.8, 1.25)
    return _log_slope(fn(at), at).clamp(*EXPONENT_OF_H)


def _start_exponent_of_g(fn: Callable[[Tensor], Tensor]) -> Tensor:
    at = _points(1.0, 2.0)
    return _log_slope(fn(at), at).clamp(*EXPONENT_OF_G)


POWER_OF_H = Learned(1, _start_exponent_of_h, lambda value, limits: held(value, *EXPONENT_OF_H))
POWER_OF_G = Learned(1, _start_exponent_of_g, lambda value, limits: held(value, *EXPONENT_OF_G))


# Splines. --------------------------------------------------------------------------------------------------
def spline_of_size(norm: Tensor, radius: Tensor | float, parameters: Tensor) -> Tensor:
    """The function of u through 0 with these slopes (..., PIECES) on pieces of equal width."""
    return _on_pieces(norm / radius, parameters, WIDTH)


def spline_of_turn(turn: Tensor, parameters: Tensor) -> Tensor:
    """The odd function of t with these slopes (..., TURNS) on pieces of width 1."""
    sign = torch.where(turn < 0, -1.0, 1.0).to(turn.dtype)
    return sign * _on_pieces(sign * turn, parameters, 1.0)


def _on_pieces(at: Tensor, parameters: Tensor, width: float) -> Tensor:
    """``intercept + slope · at`` of the piece that each number lies on; at a knot, of the one behind it."""
    slope, *others = parameters.unbind(-1)
    intercept, before = torch.zeros_like(slope), slope
    slopes, intercepts, crossed = slope, intercept, intercept
    for number, own in enumerate(others, 1):
        crossed = crossed + (before - own) * (number * width)
        behind = at >= number * width
        slopes = torch.where(behind, own, slopes)
        intercepts = torch.where(behind, crossed, intercepts)
        before = own
    return intercepts + slopes * at


def _start_slopes_of_h(fn: Callable[[Tensor], Tensor]) -> Tensor:
    at = torch.arange(1, PIECES + 1, dtype=torch.float64, device="cpu") * WIDTH
    return F.pad(fn(at), (1, 0)).diff() / WIDTH


def _start_slopes_of_g(fn: Callable[[Tensor], Tensor]) -> Tensor:
    at = torch.arange(TURNS + 1, dtype=torch.float64, device="cpu")
    return fn(at).diff() / fn(at[1:2]).abs()


def _slopes_of_h(slopes: Tensor, limits: Limits) -> Tensor:
    slopes = _limited(slopes, limits)
    if "bounded" in limits.constraints:
        slopes = torch.cat([slopes[..., :-1], torch.zeros_like(slopes[..., -1:])], -1)
    return slopes


def _slopes_of_g(slopes: Tensor, limits: Limits) -> Tensor:
    """Held, and scaled so that ``E[g²] = E[t²] = 1`` for a normal t: else h and g share one scale.

    A Lipschitz bound holds the scaled slopes, so that one which cuts any of them leaves less than 1.
    """
    if "monotone" in limits.constraints:
        slopes = held(slopes, 0.0, None)
    own = slopes.unbind(-1)
    # With numbers: a product of matrices would be in autocast's type, a tensor of them a copy to the device.
    pairs = ((i, j) for i in range(TURNS) for j in range(i, TURNS))
    terms = [_GRAM[i][j] * (1 + (i != j)) * own[i] * own[j] for i, j in pairs]
    square = torch.stack(terms).sum(0).unsqueeze(-1)
    return _limited(slopes / square.clamp(min=_LEAST).sqrt(), Limits((), limits.lipschitz))


def _limited(slopes: Tensor, limits: Limits) -> Tensor:
    steep = limits.lipschitz
    low = 0.0 if "monotone" in limits.constraints else None if steep is None else -steep
    return slopes if low is None and steep is None else held(slopes, low, steep)


def _gram() -> list[list[float]]:
    """``E[φᵢ(t) φⱼ(t)]`` of a normal t, where φᵢ(t) is what of t lies on piece i."""

    def hinges(a: int, b: int) -> float:  # E[(t − a)₊ (t − b)₊] on both sides, for a ≤ b
        beyond = 0.5 * math.erfc(b / math.sqrt(2))
        density = math.exp(-b * b / 2) / math.sqrt(2 * math.pi)
        return 2 * ((1 + a * b) * beyond - a * density)

    def pair(i: int, j: int) -> float:
        edges_i = [(i, 1)] + [(i + 1, -1)] * (i < TURNS - 1)
        edges_j = [(j, 1)] + [(j + 1, -1)] * (j < TURNS - 1)
        return sum(s * r * hinges(min(a, b), max(a, b)) for a, s in edges_i for b, r in edges_j)

    return [[pair(i, j) for j in range(TURNS)] for i in range(TURNS)]


_GRAM = _gram()
SPLINE_OF_H = Learned(PIECES, _start_slopes_of_h, _slopes_of_h, slopes=True)
SPLINE_OF_G = Learned(TURNS, _start_slopes_of_g, _slopes_of_g, slopes=True)
