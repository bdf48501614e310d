"""Blur of one kind everywhere: defocus, zoom and, held back, gaussian."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..draws import Draws
from . import corruption
from ._filters import filtered, gaussian, gaussian_weights, zoomed


@corruption(
    "defocus_blur", "Defocus blur", 4, group="blur",
    cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
)  # fmt: skip
def defocus_blur(images: Tensor, disk: tuple[float, float], draws: Draws) -> Tensor:
    """The mean over a disk of that radius, whose edge is smoothed by that deviation."""
    return filtered(images, disk_kernel(*disk))


def disk_kernel(radius: float, alias: float) -> Tensor:
    """A disk on the grid of pixels, of sum 1, smoothed by a gaussian of 3×3, above a radius of 8 of 5×5."""
    reach, smooth = (8, 1) if radius <= 8 else (int(radius), 2)
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (place[:, None] ** 2 + place**2 <= radius**2).double()
    weights = torch.tensor(gaussian_weights(smooth, alias), dtype=torch.float64)
    smoothed = filtered((disk / disk.sum())[None, None], weights[:, None] * weights, "mirror")
    return smoothed[0, 0]


@corruption(
    "zoom_blur", "Zoom blur", 7, group="blur",
    cifar=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
)  # fmt: skip
def zoom_blur(images: Tensor, zoom: tuple[float, float], draws: Draws) -> Tensor:
    """The mean of the image and its enlargements, from 1 to the first number by steps of the second."""
    factors = np.arange(1, *zoom).tolist()
    total = torch.zeros_like(images)
    for factor in factors:
        total = total + zoomed(images, factor)
    return (images + total) / (len(factors) + 1)


@corruption(
    "gaussian_blur", "Gaussian blur", 17, group="blur", held_back=True,
    cifar=(0.4, 0.6, 0.7, 0.8, 1.0), imagenet=(1, 2, 3, 4, 6),
)  # fmt: skip
def gaussian_blur(images: Tensor, sigma: float, draws: Draws) -> Tensor:
    """Blur by a gaussian of that deviation, in pixels."""
    return gaussian(images, sigma)
