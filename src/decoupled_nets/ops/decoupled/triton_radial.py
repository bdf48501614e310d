"""A learned magnitude of patch norms on graphics processors: its kernels, and what starts them.

Norms are (B, N, S), parameters in force (N, P), and there is one radius. A program takes a stretch of
positions of one row of one image and leaves shares of the sums, which are then added up in a fixed order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .learned import PIECES, WIDTH

_PIECES, _WIDTH = tl.constexpr(PIECES), tl.constexpr(WIDTH)
_BLOCK = 1024
_COUNT = {"power": 1, "spline": PIECES}


@triton.jit
def _power(u, parameters, row):
    """u^q, and its derivative by u times u."""
    exponent = tl.load(parameters + row)
    value = tl.where(exponent == 0.0, 1.0, tl.exp2(exponent * tl.log2(u)))
    return value, value * exponent


@triton.jit
def _spline(u, parameters, row):
    """The value and the slope of the piece that u lies on; at a knot, of the one behind it."""
    slope = tl.load(parameters + row * _PIECES)
    slopes, crossed, offset = tl.zeros_like(u) + slope, 0.0, tl.zeros_like(u)
    for piece in tl.static_range(1, _PIECES):
        own = tl.load(parameters + row * _PIECES + piece)
        crossed += (slope - own) * (piece * _WIDTH)
        slopes = tl.where(u >= piece * _WIDTH, own, slopes)
        offset = tl.where(u >= piece * _WIDTH, crossed, offset)
        slope = own
    return offset + slopes * u, slopes


@triton.jit
def _stretch(S, blocks, N, BLOCK: tl.constexpr):
    """The row, where its norms start, and which positions of a program's stretch are there."""
    line = tl.program_id(0) // blocks
    first = (tl.program_id(0) - line * blocks) * BLOCK
    return line % N, line.to(tl.int64) * S + first, first + tl.arange(0, BLOCK) < S


@triton.jit(do_not_specialize=["S", "blocks", "N"])
def values(norm, parameters, radius, out, S, blocks, N, MAGNITUDE: tl.constexpr, BLOCK: tl.constexpr):
    """``h / α`` of the norms."""
    row, start, here = _stretch(S, blocks, N, BLOCK)
    at = start + tl.arange(0, BLOCK)
    u = tl.load(norm + at, mask=here, other=1.0) / tl.load(radius)
    if MAGNITUDE == "power":
        value, _ = _power(u, parameters, row)
    else:
        value, _ = _spline(u, parameters, row)
    tl.store(out + at, value, mask=here)


@triton.jit(do_not_specialize=["S", "blocks", "N"])
def shares(
    grad, norm, parameters, radius, by_norm, sums, S, blocks, N,
    MAGNITUDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient by the norms, and shares of those by the parameters and by log ρ, (programs, P + 1)."""
    row, start, here = _stretch(S, blocks, N, BLOCK)
    at = start + tl.arange(0, BLOCK)
    n = tl.load(norm + at, mask=here, other=1.0)
    own = tl.load(grad + at, mask=here, other=0.0)
    r = tl.load(radius)
    u = n / r
    if MAGNITUDE == "power":
        value, turned = _power(u, parameters, row)
        by_n = own * turned / n
        sums += tl.program_id(0).to(tl.int64) * 2
        tl.store(sums, tl.sum(own * value * tl.log(u), axis=0))
        tl.store(sums + 1, -tl.sum(own * turned, axis=0))
    else:
        _, slopes = _spline(u, parameters, row)
        by_n = own * slopes / r
        sums += tl.program_id(0).to(tl.int64) * (_PIECES + 1)
        tl.store(sums, tl.sum(own * tl.where(u >= _WIDTH, _WIDTH, u), axis=0))
        for piece in tl.static_range(1, _PIECES - 1):
            left = piece * _WIDTH
            part = tl.where(u >= left + _WIDTH, _WIDTH, tl.where(u >= left, u - left, 0.0))
            tl.store(sums + piece, tl.sum(own * part, axis=0))
        left = (_PIECES - 1) * _WIDTH
        tl.store(sums + _PIECES - 1, tl.sum(own * tl.where(u >= left, u - left, 0.0), axis=0))
        tl.store(sums + _PIECES, -tl.sum(own * slopes * u, axis=0))
    tl.store(by_norm + at, by_n, mask=here)


def _checked(norm: Tensor, parameters: Tensor, radius: Tensor, magnitude: str) -> tuple[Tensor, ...]:
    if magnitude not in _COUNT:
        raise RuntimeError(f"radial: unknown magnitude {magnitude}")
    shape = (norm.shape[1], _COUNT[magnitude]) if norm.dim() > 1 else ()
    types = {norm.dtype, parameters.dtype, radius.dtype}
    if parameters.shape != shape or radius.numel() != 1 or types != {torch.float32}:
        raise RuntimeError(
            f"radial: norms {tuple(norm.shape)}, parameters {tuple(parameters.shape)} and a radius"
            f" {tuple(radius.shape)} of {norm.dtype} received; needed: (B, N, *S), (N, {_COUNT[magnitude]})"
            " and () in float32"
        )
    return norm.contiguous(), parameters.contiguous(), radius


def _sizes(norm: Tensor) -> tuple[int, int, int]:
    positions = norm.shape[2:].numel()
    return positions, -(-positions // _BLOCK), norm.shape[1]


def radial(norm: Tensor, parameters: Tensor, radius: Tensor, magnitude: str) -> Tensor:
    """``h / α`` of norms (B, N, *S)."""
    norm, parameters, radius = _checked(norm, parameters, radius, magnitude)
    out, sizes = torch.empty_like(norm), _sizes(norm)
    with torch.cuda.device_of(norm):
        programs = norm.shape[0] * norm.shape[1] * sizes[1]
        values[(programs,)](norm, parameters, radius, out, *sizes, MAGNITUDE=magnitude, BLOCK=_BLOCK)
    return out


def radial_backward(
    grad: Tensor, norm: Tensor, parameters: Tensor, radius: Tensor, magnitude: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by norms, parameters and radius."""
    norm, parameters, radius = _checked(norm, parameters, radius, magnitude)
    if grad.shape != norm.shape or grad.dtype != torch.float32:
        raise RuntimeError(
            f"radial: gradient {tuple(grad.shape)} of {grad.dtype} received; needed: what the norms have"
        )
    by_norm, sizes, count = torch.empty_like(norm), _sizes(norm), _COUNT[magnitude]
    sums = norm.new_empty((norm.shape[0], norm.shape[1], sizes[1], count + 1))
    with torch.cuda.device_of(norm):
        programs = norm.shape[0] * norm.shape[1] * sizes[1]
        shares[(programs,)](
            grad.contiguous(),
            norm,
            parameters,
            radius,
            by_norm,
            sums,
            *sizes,
            MAGNITUDE=magnitude,
            BLOCK=_BLOCK,
        )
    by_row = sums.sum((0, 2))
    return by_norm, by_row[:, :count].contiguous(), (by_row[:, count].sum() / radius).view(radius.shape)
