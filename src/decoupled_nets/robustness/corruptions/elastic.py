"""Elastic transform."""

from __future__ import annotations

import torch
from torch import Tensor

from ..draws import Draws
from . import corruption
from ._filters import gaussian, sampled

#: Sides that the constants are shares of: the script for ImageNet-C has 244 where it means 224.
_SHARE = 244 / 224


@corruption(
    "elastic_transform", "Elastic transform", 13, group="digital",
    cifar=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    imagenet=tuple(
        (amount * _SHARE, sigma * _SHARE, corners * _SHARE)
        for amount, sigma, corners in (
            (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)
        )
    ),
)  # fmt: skip
def elastic_transform(images: Tensor, shares: tuple[float, float, float], draws: Draws) -> Tensor:
    """Three corners of the middle moved, then every pixel, smoothly.

    The constants are shares of the shorter side, as in the original: how far pixels move at most, the
    deviation that smooths this, and how far corners move at most.
    """
    amount, sigma, corners = (share * min(images.shape[2:]) for share in shares)
    images = _affine(images, corners, draws)
    y, x = _grid(images)
    moves = []
    for _ in range(2):
        noise = 2 * draws.uniform((1, *images.shape[2:]), images) - 1
        moves.append(gaussian(noise, sigma, truncate=3, border="half")[:, 0].double() * amount)
    return sampled(images, y + moves[1], x + moves[0], "half")


def _grid(images: Tensor) -> tuple[Tensor, Tensor]:
    y, x = (torch.arange(n, device=images.device, dtype=torch.float64) for n in images.shape[2:])
    return y[None, :, None], x[None, None, :]


def _affine(images: Tensor, reach: float, draws: Draws) -> Tensor:
    """The affine map that moves three corners of the middle by up to `reach` pixels along each axis."""
    height, width = images.shape[2:]
    half = min(height, width) // 3
    x, y = float(width // 2), float(height // 2)
    corners = images.new_tensor(
        [[x + half, y + half], [x + half, y - half], [x - half, y - half]], dtype=torch.float64
    )
    moved = corners + reach * (2 * draws.uniform((3, 2), corners) - 1)  # (B, 3, 2)
    (ax, ay), (bx, by) = ((moved[:, k] - moved[:, 0]).unbind(1) for k in (1, 2))
    area = ax * by - ay * bx
    area = torch.where(area.abs() < 1e-3, 1e-3, area)
    rows, columns = _grid(images)
    dy, dx = (grid - moved[:, 0, k][:, None, None] for grid, k in ((rows, 1), (columns, 0)))
    # How far a pixel lies along the two sides of the moved triangle, so far it lies along those of the first.
    along = (dx * by[:, None, None] - dy * bx[:, None, None]) / area[:, None, None]
    aside = (dy * ax[:, None, None] - dx * ay[:, None, None]) / area[:, None, None]
    origin, (sx, sy), (tx, ty) = corners[0], corners[1] - corners[0], corners[2] - corners[0]
    return sampled(images, origin[1] + along * sy + aside * ty, origin[0] + along * sx + aside * tx, "mirror")
