"""Decoupled convolution on graphics processors: the functions h and g in Triton, with their derivatives."""

from __future__ import annotations

import triton
import triton.language as tl

from . import learned

#: As :data:`.learned.ROUNDED`.
ROUNDED = tl.constexpr(learned.ROUNDED)


@triton.jit
def _log_one_plus(x):
    """log(1 + x) for x ≥ 0 without the loss of digits near 0."""
    u = 1.0 + x
    near = tl.where(x < 1.0, u, 2.0)  # where it is not near, anything that divides
    corrected = tl.log(near) * (x / tl.where(near == 1.0, 1.0, near - 1.0))
    return tl.where(x < 1.0, tl.where(near == 1.0, x, corrected), tl.log(u))


@triton.jit
def _tanh(n, inverse_r):
    """tanh(n/ρ) and its derivative by n, to a few units in the last place, also where tanh is almost 1."""
    x = n * (inverse_r * -2.8853900817779268)  # -2 log₂ e
    e = tl.exp2(x)
    inverse = 1.0 / (1.0 + e)
    square = x * x
    series = x * (((square * 3.2412059e-5 - 6.6667791e-4) * square + 0.013876027) * square - 0.34657359)
    return tl.where(x > -0.6, series, (1.0 - e) * inverse), e * inverse * inverse * (inverse_r * 4.0)


@triton.jit
def respond(n, r, inverse_r, alpha, beta, MAGNITUDE: tl.constexpr):
    """H and its derivative by the norm, and what both are still to be multiplied by.

    n is a column, the radius a row. Of a learned magnitude n is what it gives.
    """
    if MAGNITUDE == "ball":
        outside = n > r  # not for a NaN
        return tl.where(outside, 1.0, n * inverse_r), tl.where(outside, 0.0, inverse_r), alpha
    elif MAGNITUDE == "tanh":
        t, slope = _tanh(n, inverse_r)
        return t, slope, alpha
    elif MAGNITUDE == "seg":
        inside = n < r
        h = tl.where(inside, alpha * n, beta * n + (alpha - beta) * r)
        return h, tl.where(inside, alpha, beta), alpha * 0.0 + 1.0
    elif MAGNITUDE == "given":
        return n, tl.zeros_like(n), alpha
    elif MAGNITUDE == "linear":
        return n, tl.zeros_like(n) + 1.0, alpha
    elif MAGNITUDE == "log":
        return _log_one_plus(n), 1.0 / (1.0 + n), alpha
    elif MAGNITUDE == "mix":
        return alpha * n + beta * _log_one_plus(n), alpha + beta / (1.0 + n), alpha * 0.0 + 1.0
    else:
        tl.static_assert(MAGNITUDE == "sphere")
        return tl.zeros_like(n) + 1.0, tl.zeros_like(n), alpha


@triton.jit
def turned(t, parameters, group, ANGLE: tl.constexpr):
    """G and its derivative by t, the cosine; of a learned angle that of its `group`."""
    if ANGLE == "cos":
        return t, tl.zeros_like(t) + 1.0
    elif ANGLE == "sqcos":
        return t * tl.abs(t), 2.0 * tl.abs(t)
    elif ANGLE == "power":
        exponent = tl.load(parameters + group)
        square = t * t + ROUNDED
        # exp2 and log2 of numbers around 1: the exponent is between 1/2 and 3.
        factor = tl.exp2((0.5 * (exponent - 1.0)) * tl.log2(square))
        return t * factor, factor * (1.0 + (exponent - 1.0) * (t * t / square))
    else:
        tl.static_assert(ANGLE == "spline")
        size = tl.abs(t)
        slope = tl.load(parameters + group * 4)
        slopes, crossed, offset = tl.zeros_like(t) + slope, 0.0, tl.zeros_like(t)
        for piece in tl.static_range(1, 4):
            own = tl.load(parameters + group * 4 + piece)
            crossed += (slope - own) * piece
            slopes = tl.where(size >= piece, own, slopes)
            offset = tl.where(size >= piece, crossed, offset)
            slope = own
        g = offset + slopes * size
        return tl.where(t < 0.0, -g, g), slopes


@triton.jit
def between(size, piece):
    """What of `size` lies between `piece` and one more."""
    return tl.where(size >= piece + 1.0, 1.0, tl.where(size >= piece, size - piece, 0.0))
