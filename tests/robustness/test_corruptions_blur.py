"""Blur beside dense matrices, in float64, and by what comes of a single point."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from corruption_cases import Given, photo
from corruption_formulas import (
    BOTH,
    JUST_BELOW,
    SEVERITY,
    blurred,
    close,
    constant,
    enlarged,
    levels,
    made,
    moved,
)

from decoupled_nets.robustness.corruptions import corrupt, corruption_named


@BOTH
@SEVERITY
def test_gaussian_blur(severity: int, constants: str) -> None:
    image = photo(30, height=22)
    wanted = blurred(levels(image), constant("gaussian_blur", constants, severity))
    close(made("gaussian_blur", image, severity, constants), wanted)


@BOTH
@SEVERITY
def test_defocus_blur(severity: int, constants: str) -> None:
    radius, alias = constant("defocus_blur", constants, severity)
    reach, smooth = (8, 1) if radius <= 8 else (radius, 2)
    place = np.arange(-reach, reach + 1)
    disk = (place[:, None] ** 2 + place**2 <= radius**2).astype(float)
    weights = np.exp(-0.5 * (np.arange(-smooth, smooth + 1) / alias) ** 2)
    disk, weights = np.pad(disk / disk.sum(), smooth, mode="reflect"), weights / weights.sum()
    size = 2 * reach + 1
    kernel = sum(
        a * b * disk[i : i + size, j : j + size] for i, a in enumerate(weights) for j, b in enumerate(weights)
    )
    image = photo(40, height=30)
    wide = np.pad(levels(image), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    wanted = sum(kernel[i, j] * wide[i : i + 30, j : j + 40] for i in range(size) for j in range(size))
    close(made("defocus_blur", image, severity, constants), wanted)


@BOTH
@SEVERITY
def test_zoom_blur(severity: int, constants: str) -> None:
    factors = np.arange(1, *constant("zoom_blur", constants, severity))
    image = photo(28)
    plain = levels(image)

    wanted = (plain + sum(enlarged(plain, f) for f in factors)) / (len(factors) + 1)
    close(made("zoom_blur", image, severity, constants), wanted)


@BOTH
@SEVERITY
def test_motion_blur(severity: int, constants: str) -> None:
    radius, sigma = constant("motion_blur", constants, severity)
    image, given = photo(30, height=26), Given(severity)
    found = corruption_named("motion_blur").run(image[None], (radius, sigma), given)[0]
    total = moved(levels(image), radius, sigma, -45 + 90 * given.made[0].item())
    assert np.abs(levels(found) - np.round(total)).max() < 1.01
    assert (np.abs(levels(found) - np.round(total)) > 0.01).mean() < 0.02


def test_motion_is_within_45_degrees_of_the_horizontal() -> None:
    """A point becomes a line; over many images all directions come up, and none beyond."""
    images = torch.zeros(200, 1, 41, 41)
    images[:, 0, 20, 20] = 1
    images[:, 0, 0, 0] = torch.arange(200) / 255
    lines = corrupt(images, "motion_blur", 5, constants="cifar")[:, 0, 10:, :]
    y, x = torch.meshgrid(torch.arange(10, 41), torch.arange(41), indexing="ij")
    slopes = []
    for line in lines:
        lit = line > 0
        assert x[lit].max() == 20  # the line leads to the left: the image moves to the right
        end = x[lit].argmin()
        slopes.append(((y[lit][end] - 20) / (20 - x[lit][end]).clamp(min=1)).item())
    assert min(slopes) == pytest.approx(-1, abs=0.15)
    assert max(slopes) == pytest.approx(1, abs=0.15)


@BOTH
@SEVERITY
def test_glass_blur(severity: int, constants: str) -> None:
    """By the loop over pixels of the published scripts, one after the other."""
    sigma, reach, times = constant("glass_blur", constants, severity)
    height, width = 18, 24

    class Moves(Given):
        def integers(self, high, shape=()):
            self.made.append(super().integers(high, shape))
            return self.made[-1]

    image, given = photo(width, height=height), Moves(severity)
    found = corruption_named("glass_blur").run(image[None], (sigma, reach, times), given)[0]
    pixels = np.floor(blurred(levels(image), sigma) + JUST_BELOW)
    assert len(given.made) == times
    for moves in given.made:
        assert moves.min() == 0
        assert moves.max() == 2 * reach - 1
        dx, dy = moves[0].numpy() - reach
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                there = h + dy[h, w], w + dx[h, w]
                pixels[h, w], pixels[there] = pixels[there], pixels[h, w]  # views: the second stays as it is
    wanted = blurred(pixels, sigma)
    assert np.abs(levels(found) - wanted).max() < 1.01
    assert (np.abs(levels(found) - wanted) > 0.01).mean() < 0.02
