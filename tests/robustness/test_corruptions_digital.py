"""Digital corruptions, each beside a formula of its own, in float64."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from corruption_cases import Given, photo, photos
from corruption_formulas import BOTH, SEVERITY, blurred, close, constant, levels, made, recoloured
from PIL import Image

from decoupled_nets.robustness.corruptions import corrupt, corruption_named


@BOTH
@SEVERITY
def test_contrast(severity: int, constants: str) -> None:
    image = photo(21, height=17)
    plain = levels(image)
    middle = plain.mean((0, 1), keepdims=True)
    share = constant("contrast", constants, severity)
    close(made("contrast", image, severity, constants), (plain - middle) * share + middle)


@BOTH
@SEVERITY
def test_saturate(severity: int, constants: str) -> None:
    times, more = constant("saturate", constants, severity)
    image = photo(12)
    image[:, 0, 0], image[:, 0, 1], image[:, 0, 2] = 0, 1, 0.4
    wanted = recoloured(image, lambda h, s, v: (h, min(s * times + more, 1), v))
    close(made("saturate", image, severity, constants), wanted)


@BOTH
@SEVERITY
def test_jpeg(severity: int, constants: str) -> None:
    image, file = photo(33, height=20), io.BytesIO()
    Image.fromarray(levels(image).round().astype(np.uint8)).save(
        file, "JPEG", quality=constant("jpeg_compression", constants, severity)
    )
    assert np.array_equal(
        made("jpeg_compression", image, severity, constants).round(), np.asarray(Image.open(file))
    )


@BOTH
@SEVERITY
def test_pixelate(severity: int, constants: str) -> None:
    """Means over the area that a small pixel covers, then each pixel's small one."""
    share = constant("pixelate", constants, severity)
    image = photo(40, height=24)
    small, size = [int(n * share) for n in (24, 40)], (24, 40)

    def means(full: int, few: int) -> np.ndarray:
        scale = full / few
        weights = np.zeros((few, full))
        for k in range(few):
            low, high = (k + 0.5) * scale - scale / 2, (k + 0.5) * scale + scale / 2
            inside = (np.arange(full) + 0.5 > low) & (np.arange(full) + 0.5 <= high)
            weights[k, inside] = 1 / inside.sum()
        return weights

    rows, columns = (means(n, few) for n, few in zip(size, small, strict=True))
    block = np.round(np.einsum("ab,bcd,ec->aed", rows, levels(image), columns))
    y, x = (np.floor((np.arange(n) + 0.5) * few / n).astype(int) for n, few in zip(size, small, strict=True))
    found = made("pixelate", image, severity, constants)
    assert (np.abs(found - block[y][:, x]) > 1.01).mean() < 0.03  # where a pixel lies on a border


@BOTH
@SEVERITY
def test_elastic_transform(severity: int, constants: str) -> None:
    """By solving for the affine map, and by sampling pixel by pixel."""
    scale = 224 / 244 if constants == "imagenet" else 1
    height, width = 20, 26
    amount, sigma, reach = (c * height / scale for c in constant("elastic_transform", constants, severity))
    image, given = photo(width, height=height), Given(severity)
    own = corruption_named("elastic_transform").constants[constants][severity - 1]
    found = corruption_named("elastic_transform").run(image[None], own, given)[0]
    x, y, half = width // 2, height // 2, min(height, width) // 3
    corners = np.array([[x + half, y + half], [x + half, y - half], [x - half, y - half]], float)
    moved = corners + reach * (2 * given.made[0][0].numpy().astype(float) - 1)
    back = np.linalg.solve(np.c_[moved, np.ones(3)], corners)  # (3, 2): from moved to where it was

    def fold(at: float, size: int, half_sample: bool) -> int:
        while not 0 <= at < size:
            at = (-1 if half_sample else 0) - at if at < 0 else (2 * size - (1 if half_sample else 2)) - at
        return int(at)

    def sample(plain: np.ndarray, at_y: float, at_x: float, half_sample: bool) -> np.ndarray:
        top, left = math.floor(at_y), math.floor(at_x)
        return sum(
            abs(1 - k - (at_y - top)) * abs(1 - m - (at_x - left))
            * plain[fold(top + k, height, half_sample), fold(left + m, width, half_sample)]
            for k in (0, 1) for m in (0, 1)
        )  # fmt: skip

    grid = [[(i, j) for j in range(width)] for i in range(height)]
    plain = levels(image) / 255
    was = [[np.array([j, i, 1.0]) @ back for i, j in row] for row in grid]
    turned = np.array([[sample(plain, y, x, False) for x, y in row] for row in was])
    noise = [2 * n[0, 0].numpy().astype(float)[..., None] - 1 for n in given.made[1:]]
    dx, dy = (amount * blurred(n, sigma, truncate=3, half=True)[..., 0] for n in noise)
    wanted = np.array([[sample(turned, i + dy[i, j], j + dx[i, j], True) for i, j in row] for row in grid])
    np.testing.assert_allclose(levels(found) / 255, wanted, atol=5e-4)


def test_elastic_moves_grow_with_the_image() -> None:
    """The constants are shares of the side: the same pattern moves as far, relative to the image."""

    def moved(side: int) -> float:
        images = photos(6, side)
        return (corrupt(images, "elastic_transform", 3, constants="cifar") - images).abs().mean().item()

    assert moved(24) == pytest.approx(moved(96), rel=0.5)
