"""The published constants, written out again, and what several corruptions' own formulas share."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import numpy as np
import pytest
from torch import Tensor

from decoupled_nets.robustness.corruptions import corrupt

#: What lies so little below a level, in levels, counts as the level.
JUST_BELOW = 2.0**-10
BOTH = pytest.mark.parametrize("constants", ["cifar", "imagenet"])
SEVERITY = pytest.mark.parametrize(
    "severity", [1, *(pytest.param(k, marks=pytest.mark.sweep) for k in (2, 3, 4)), 5]
)
TABLE = {
    "gaussian_noise": {"cifar": [0.04, 0.06, 0.08, 0.09, 0.10], "imagenet": [0.08, 0.12, 0.18, 0.26, 0.38]},
    "shot_noise": {"cifar": [500, 250, 100, 75, 50], "imagenet": [60, 25, 12, 5, 3]},
    "impulse_noise": {"cifar": [0.01, 0.02, 0.03, 0.05, 0.07], "imagenet": [0.03, 0.06, 0.09, 0.17, 0.27]},
    "speckle_noise": {"cifar": [0.06, 0.1, 0.12, 0.16, 0.2], "imagenet": [0.15, 0.2, 0.35, 0.45, 0.6]},
    "gaussian_blur": {"cifar": [0.4, 0.6, 0.7, 0.8, 1], "imagenet": [1, 2, 3, 4, 6]},
    "contrast": {"cifar": [0.75, 0.5, 0.4, 0.3, 0.15], "imagenet": [0.4, 0.3, 0.2, 0.1, 0.05]},
    "brightness": {"cifar": [0.05, 0.1, 0.15, 0.2, 0.3], "imagenet": [0.1, 0.2, 0.3, 0.4, 0.5]},
    "saturate": {"cifar": [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
                 "imagenet": [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)]},
    "jpeg_compression": {"cifar": [80, 65, 58, 50, 40], "imagenet": [25, 18, 15, 10, 7]},
    "pixelate": {"cifar": [0.95, 0.9, 0.85, 0.75, 0.65], "imagenet": [0.6, 0.5, 0.4, 0.3, 0.25]},
    "motion_blur": {"cifar": [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
                    "imagenet": [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)]},
    "fog": {"cifar": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
            "imagenet": [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)]},
    "frost": {"cifar": [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
              "imagenet": [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)]},
    "defocus_blur": {"cifar": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
                     "imagenet": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)]},
    "glass_blur": {"cifar": [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
                   "imagenet": [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)]},
    "zoom_blur": {"cifar": [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
                  "imagenet": [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)]},
    "snow": {"cifar": [(0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                       (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                       (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)],
             "imagenet": [(0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                          (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                          (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)]},
    "spatter": {"cifar": [(0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0),
                          (0.65, 0.3, 1, 0.69, 0.5, 0), (0.65, 0.1, 0.7, 0.69, 0.6, 1),
                          (0.65, 0.1, 0.5, 0.68, 0.6, 1)],
                "imagenet": [(0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0),
                             (0.65, 0.3, 2, 0.68, 0.5, 0), (0.65, 0.3, 1, 0.65, 1.5, 1),
                             (0.67, 0.4, 1, 0.65, 1.5, 1)]},
    "elastic_transform": {"cifar": [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
                                    (0.1, 0.03, 0.03)],
                          "imagenet": [(2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02),
                                       (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)]},
}  # fmt: skip


def constant(name: str, constants: str, severity: int):
    return TABLE[name][constants][severity - 1]


def levels(image: Tensor) -> np.ndarray:
    """(H, W, C), 0 to 255."""
    return (image.double() * 255).permute(1, 2, 0).numpy()


def made(name: str, image: Tensor, severity: int, constants: str) -> np.ndarray:
    return levels(corrupt(image[None], name, severity, constants=constants)[0])


def recoloured(image: Tensor, change: Callable[..., tuple[float, float, float]]) -> np.ndarray:
    """(H, W, 3), levels: each pixel's hue, saturation and value changed."""
    pixels = (levels(image) / 255).tolist()
    return 255 * np.array(
        [[colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in row] for row in pixels]
    )


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    """Equal when truncated to 8 bits, but where a rounding error takes a value over a level."""
    away = np.abs(found - np.floor(np.clip(wanted, 0, 255) + JUST_BELOW))
    assert away.max() < 1.01
    assert (away > 0.01).mean() < 0.02


def blur_matrix(size: int, sigma: float, truncate: float = 4.0, half: bool = False) -> np.ndarray:
    reach = int(truncate * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2) if reach else np.ones(1)
    found = np.zeros((size, size))
    for to in range(size):
        for k, weight in zip(range(-reach, reach + 1), weights / weights.sum(), strict=True):
            at = to + k
            while half and not 0 <= at < size:
                at = -1 - at if at < 0 else 2 * size - 1 - at
            found[to, min(max(at, 0), size - 1)] += weight
    return found


def blurred(image: np.ndarray, sigma: float, **how) -> np.ndarray:
    rows, columns = (blur_matrix(n, sigma, **how) for n in image.shape[:2])
    return np.einsum("ab,bcd,ec->aed", rows, image, columns)


def enlarged(plain: np.ndarray, factor: float) -> np.ndarray:
    """The middle of a square image, (N, N, C), enlarged to its size."""
    size = len(plain)
    part = math.ceil(size / factor)
    whole, first = round(part * factor), (size - part) // 2
    at = np.arange(whole) * (part - 1) / (whole - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(part)))
    middle = plain[first : first + part, first : first + part]
    trim = (whole - size) // 2
    return np.einsum("ab,bcd,ec->aed", weights, middle, weights)[trim : trim + size, trim : trim + size]


def moved(plain: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """The mean along a way, pixel by pixel of it."""
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / sigma) ** 2)
    total = np.zeros_like(plain)
    for k, weight in enumerate(weights / weights.sum()):
        down = math.ceil(k * math.sin(math.radians(degrees)) - 0.5)
        right = math.ceil(k * math.cos(math.radians(degrees)) - 0.5)
        rows = np.clip(np.arange(plain.shape[0]) + down, 0, plain.shape[0] - 1)
        columns = np.clip(np.arange(plain.shape[1]) + right, 0, plain.shape[1] - 1)
        total = total + weight * plain[rows][:, columns]
    return total
