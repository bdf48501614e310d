"""Maps made smaller by a whole number, and larger again with known sample positions.

A sample of a map that was made s times smaller stands for s × s pixels, and lies somewhere among them: at row
and column `offset`, counted from the first of them. Interpolation that takes it to lie elsewhere shifts the
map: by half a pixel where every fourth pixel was picked.

B: batch, C: channels, h, w: height and width of the small map.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Degradation = Literal["pick", "bicubic", "area"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
DEGRADATIONS: tuple[str, ...] = get_args(Degradation)
_CUBIC = -0.75  # of torch.nn.functional.interpolate; for a smaller map it is -0.5


def sample_offset(scale: int, how: Degradation) -> float:
    """Where a sample lies among the pixels that it stands for, from 0.

    Example:
        >>> sample_offset(4, "pick"), sample_offset(4, "area")
        (1.0, 1.5)
    """
    return float((scale - 1) // 2) if how == "pick" else (scale - 1) / 2


def degrade(maps: Tensor, scale: int, how: Degradation) -> Tensor:
    """Maps (B, C, s·h, s·w) made s times smaller: (B, C, h, w).

    Args:
        maps: floating point.
        scale: s, a whole number from 1 on.
        how: ``pick`` takes one pixel of each s × s, at row and column (s − 1)//2, as PAC-Net does; ``area``
            takes their mean; ``bicubic`` is Pillow's bicubic reduction, as the papers since DKN have it.

    Raises:
        ValueError: the size is no multiple of the scale, or there is no such way.
    """
    height, width = maps.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"a map of {height}×{width} received; needed: multiples of the scale {scale}")
    if how == "pick":
        first = (scale - 1) // 2
        return maps[..., first::scale, first::scale]
    if how == "area":
        return F.avg_pool2d(maps, scale)
    if how == "bicubic":
        size = (height // scale, width // scale)
        return F.interpolate(maps, size, mode="bicubic", align_corners=False, antialias=True)
    raise ValueError(f"degradation = {how!r} received; needed: one of {', '.join(DEGRADATIONS)}")


def hold(maps: Tensor, scale: int) -> Tensor:
    """Every pixel s × s times: (..., h, w) to (..., s·h, s·w)."""
    return maps.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


def interpolate_at(maps: Tensor, scale: int, offset: float, how: Interpolation) -> Tensor:
    """Maps (B, 1, h, w) made s times larger, from samples that lie at known places: (B, 1, s·h, s·w).

    Beyond the border the outermost samples are repeated. With the offset (s − 1)/2 it is
    ``torch.nn.functional.interpolate``.

    Args:
        maps: one channel.
        scale: s.
        offset: place of a sample, in rows and columns, among the s × s pixels that it stands for.
        how: ``nearest`` repeats every sample, wherever it lies.
    """
    if how == "nearest":
        return hold(maps, scale)
    weights = _kernels(scale, offset, how).to(maps)
    padded = F.pad(maps, (2, 2, 2, 2), mode="replicate")
    return _along(_along(padded.mT, weights).mT, weights)


def _along(padded: Tensor, weights: Tensor) -> Tensor:
    """Rows (..., n + 4) to (..., s·n); a convolution would round depth in mixed precision."""
    length = padded.shape[-1] - 4
    around = torch.stack([padded[..., k : k + length] for k in range(5)], -1)
    return (around[..., None, :] * weights).sum(-1).flatten(-2)


def _kernels(scale: int, offset: float, how: Interpolation) -> Tensor:
    """What the five samples around a place weigh, for each of the s places: (s, 5), float64."""
    places = (torch.arange(scale, dtype=torch.float64) - offset) / scale
    distance = (torch.arange(-2, 3, dtype=torch.float64) - places[:, None]).abs()
    if how == "bilinear":
        return (1 - distance).clamp(min=0)
    a, d = _CUBIC, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1  # Keys, 1981
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))
