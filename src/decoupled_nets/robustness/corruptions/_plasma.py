"""Clouds: the plasma fractal."""

from __future__ import annotations

import torch
from torch import Tensor

from ..draws import Draws


def plasma(images: Tensor, decay: float, draws: Draws) -> Tensor:
    """Height maps by diamonds and squares, (B, 1, H, W), float64: the least of each is 0, the largest 1.

    The map is square, its side the next power of 2, and wraps around; its upper left corner is taken.

    Args:
        images: (B, C, H, W): how many and how large.
        decay: by which roughness falls from a scale to the next finer one.
        draws: random numbers of each image.
    """
    height, width = images.shape[2:]
    side = 1 << (max(height, width) - 1).bit_length()
    made = images.new_zeros((len(images), side, side), dtype=torch.float64)
    step, wibble = side, 100.0

    def rough(total: Tensor) -> Tensor:
        noise = 2 * draws.uniform(total.shape[1:], total) - 1
        return total / 4 + wibble * wibble * noise

    while step >= 2:
        half = step // 2
        corners = made[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        made[:, half::step, half::step] = rough(pairs + pairs.roll(-1, 2))
        middles, corners = made[:, half::step, half::step], made[:, ::step, ::step]
        beside = middles + middles.roll(1, 1) + (corners + corners.roll(-1, 2))
        above = middles + middles.roll(1, 2) + (corners + corners.roll(-1, 1))
        made[:, ::step, half::step] = rough(beside)
        made[:, half::step, ::step] = rough(above)
        step, wibble = half, wibble / decay
    made = made - made.amin((1, 2), keepdim=True)
    made = made / made.amax((1, 2), keepdim=True)
    return made[:, None, :height, :width]
