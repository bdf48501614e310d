"""Edges by Canny's method, the distance to them, and equalised brightness, as OpenCV has them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._filters import filtered

_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
#: Moves of the 5×5 distance, of one quarter-turn, and their lengths.
_STEPS = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969, (2, 1): 2.1969}


def edges(images: Tensor, low: float, high: float) -> Tensor:
    """Thin edges: local maxima of the slope above `high`, and what of those above `low` hangs on them.

    Args:
        images: (B, 1, H, W), levels 0 to 255.
        low: least slope (sum of the absolute Sobel derivatives) of an edge.
        high: least slope of one of its pixels.

    Returns:
        (B, 1, H, W) bool.
    """
    kernel = images.new_tensor(_SOBEL)
    dx, dy = filtered(images, kernel, "edge"), filtered(images, kernel.T, "edge")
    slope = dx.abs() + dy.abs()
    flat, steep = dx.abs() * math.tan(math.pi / 8), dx.abs() * math.tan(3 * math.pi / 8)
    same = dx * dy >= 0
    ahead, behind = _of(slope, 1, 1), _of(slope, -1, -1)
    aside, back = _of(slope, 1, -1), _of(slope, -1, 1)
    slanted = torch.where(same, (slope > behind) & (slope > ahead), (slope > aside) & (slope > back))
    level = (slope > _of(slope, 0, -1)) & (slope >= _of(slope, 0, 1))
    upright = (slope > _of(slope, -1, 0)) & (slope >= _of(slope, 1, 0))
    best = torch.where(dy.abs() < flat, level, torch.where(dy.abs() > steep, upright, slanted))
    weak = best & (slope > low)
    found = weak & (slope > high)
    while True:
        grown = found
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                grown = grown | _of(found, down, right)
        grown = grown & weak
        if bool((grown == found).all()):
            return found
        found = grown


def distance_to(marked: Tensor, most: int) -> Tensor:
    """Distance to the nearest marked pixel by steps of 1, 1.4 and 2.1969, at most `most`.

    Args:
        marked: (B, 1, H, W) bool.
        most: largest distance, in pixels.
    """
    found = torch.where(marked, 0.0, float(most))
    turns = [
        (sign * down, side * right, length)
        for (down, right), length in _STEPS.items()
        for sign in (-1, 1)
        for side in (-1, 1)
    ] + [(sign, 0, 1.0) for sign in (-1, 1)]
    for _ in range(most):
        nearer = found
        for down, right, length in turns:
            nearer = torch.minimum(nearer, _of(found, down, right, float(most)) + length)
        if bool((nearer == found).all()):
            break
        found = nearer
    return found


def equalised(images: Tensor) -> Tensor:
    """Levels 0 to 255 spread so that about as many pixels have each; (B, 1, H, W)."""
    flat = images.flatten(1).to(torch.int64)
    counts = flat.new_zeros((len(flat), 256)).scatter_add_(1, flat, torch.ones_like(flat))
    lowest = flat.amin(1, keepdim=True)
    first = counts.gather(1, lowest)
    rest = (flat.shape[1] - first).clamp(min=1)
    table = ((counts.cumsum(1) - first).clamp(min=0).double() * (255 / rest.double())).round()
    table = torch.where(first == flat.shape[1], torch.arange(256, device=flat.device), table)
    return table.gather(1, flat).to(images.dtype).view_as(images)


def _of(values: Tensor, down: int, right: int, beyond: float = 0.0) -> Tensor:
    """The value so far below and to the right of each pixel; `beyond` outside."""
    height, width = values.shape[2:]
    made = torch.full_like(values, beyond)
    y, x = (slice(max(-n, 0), size - max(n, 0)) for n, size in ((down, height), (right, width)))
    from_y, from_x = (slice(max(n, 0), size - max(-n, 0)) for n, size in ((down, height), (right, width)))
    made[..., y, x] = values[..., from_y, from_x]
    return made
