"""Noise: gaussian, shot, impulse and, held back, speckle."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ..draws import Draws
from . import corruption
from ._levels import whole_levels


@corruption(
    "gaussian_noise", "Gaussian noise", 1, group="noise",
    cifar=(0.04, 0.06, 0.08, 0.09, 0.10), imagenet=(0.08, 0.12, 0.18, 0.26, 0.38),
)  # fmt: skip
def gaussian_noise(images: Tensor, deviation: float, draws: Draws) -> Tensor:
    """Normal noise of that deviation, in each channel its own."""
    return images + deviation * draws.normal(images.shape[1:], images)


@corruption(
    "shot_noise", "Shot noise", 2, group="noise",
    cifar=(500, 250, 100, 75, 50), imagenet=(60, 25, 12, 5, 3),
)  # fmt: skip
def shot_noise(images: Tensor, photons: int, draws: Draws) -> Tensor:
    """A Poisson number of photons, `photons` of them in white on average."""
    chance = draws.uniform(images.shape[1:], images.new_empty(0, dtype=torch.float64))
    # All 256 distributions behind one another: level k's lies in [k, k + 1).
    table, most = _poisson(photons, images.device), _most(photons)
    level = whole_levels(images)
    counted = torch.searchsorted(table, level + chance, right=True) - level * most
    return counted.to(images.dtype) / photons


def _most(photons: int) -> int:
    return int(photons + 8 * photons**0.5 + 24)


@cache
def _poisson(photons: int, device: torch.device) -> Tensor:
    """The chance of at most n photons, n = 0, 1, ..., at each of 256 levels, plus the level."""
    level = torch.arange(256, dtype=torch.float64)[:, None]
    counts = torch.arange(_most(photons), dtype=torch.float64)
    chance = torch.special.gammaincc(
        (counts + 1).expand(256, -1), (level / 255 * photons).expand(256, len(counts))
    )
    return (level + chance).flatten().to(device)


@corruption(
    "impulse_noise", "Impulse noise", 3, group="noise",
    cifar=(0.01, 0.02, 0.03, 0.05, 0.07), imagenet=(0.03, 0.06, 0.09, 0.17, 0.27),
)  # fmt: skip
def impulse_noise(images: Tensor, share: float, draws: Draws) -> Tensor:
    """That share of the values replaced, one half by 0, the other by 1; each channel by itself."""
    hit = draws.uniform(images.shape[1:], images) <= share
    salt = draws.uniform(images.shape[1:], images) <= 0.5
    return torch.where(hit, salt.to(images.dtype), images)


@corruption(
    "speckle_noise", "Speckle noise", 16, group="noise", held_back=True,
    cifar=(0.06, 0.10, 0.12, 0.16, 0.20), imagenet=(0.15, 0.20, 0.35, 0.45, 0.60),
)  # fmt: skip
def speckle_noise(images: Tensor, deviation: float, draws: Draws) -> Tensor:
    """Normal noise in proportion to the value."""
    return images + images * (deviation * draws.normal(images.shape[1:], images))
