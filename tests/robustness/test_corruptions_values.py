"""Each corruption beside a formula of its own, in float64, with the published constants written out again."""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from corruption_cases import Given, photo, photos
from PIL import Image
from torch import Tensor

from decoupled_nets.robustness.corruptions import corrupt, corruption_named

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


@pytest.mark.parametrize("name", sorted(set(TABLE)))
@BOTH
def test_constants(name: str, constants: str) -> None:
    own = list(corruption_named(name).constants[constants])
    if name == "elastic_transform" and constants == "imagenet":
        own = [tuple(round(share * 224 / 244, 9) for share in one) for one in own]
    if name == "frost":
        own = [one[:2] for one in own]  # the third is the texture's
    assert own == TABLE[name][constants]


# Noise: on one grey, where mean and variance after clipping and truncation are known.


def clipped(centre: float, deviation: float) -> tuple[float, float]:
    """Mean and deviation of a normal value clipped to [0, 1] and truncated to 8 bits, in levels."""
    edges = (np.arange(257) / 255 - centre) / deviation
    below = np.array([0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges])
    below[0], below[255:] = 0, (below[255], 1)
    chances = np.diff(below)
    values = np.arange(256)
    mean = chances @ values
    return mean, math.sqrt(chances @ (values - mean) ** 2)


def flat(grey: int) -> Tensor:
    """Twelve images of one grey, told apart by their first pixel."""
    images = torch.full((12, 3, 64, 64), grey / 255)
    images[:, 0, 0, 0] = torch.arange(12) / 255
    return images


@BOTH
@SEVERITY
@pytest.mark.parametrize("grey", [40, 128, 230])
@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
def test_normal_noise(name: str, grey: int, severity: int, constants: str) -> None:
    values = corrupt(flat(grey), name, severity, constants=constants)[:, :, 1:] * 255
    deviation = constant(name, constants, severity) * (grey / 255 if name == "speckle_noise" else 1)
    mean, sd = clipped(grey / 255, deviation)
    # 145,000 values: five standard errors of each
    assert values.mean().item() == pytest.approx(mean, abs=5 * sd / math.sqrt(values.numel()) + 0.01)
    assert values.std().item() == pytest.approx(sd, rel=0.02)


@BOTH
@SEVERITY
@pytest.mark.parametrize("grey", [1, 40, 128])
def test_shot_noise_is_poisson(grey: int, severity: int, constants: str) -> None:
    photons = constant("shot_noise", constants, severity)
    values = corrupt(flat(grey), "shot_noise", severity, constants=constants)[:, :, 1:]
    counts = np.arange(1500)
    rate = grey / 255 * photons
    chances = np.exp(counts * math.log(rate) - rate - np.array([math.lgamma(n + 1) for n in counts]))
    steps = np.floor(np.clip(counts / photons, 0, 1) * 255 + 1e-6)
    mean = chances @ steps
    sd = math.sqrt(chances @ (steps - mean) ** 2)
    found = values * 255
    assert found.mean().item() == pytest.approx(mean, abs=5 * sd / math.sqrt(found.numel()) + 0.01)
    assert found.std().item() == pytest.approx(sd, rel=0.03)
    assert set(found.round().unique().tolist()) <= set(steps.tolist())


@BOTH
@SEVERITY
def test_impulse_noise(severity: int, constants: str) -> None:
    share = constant("impulse_noise", constants, severity)
    values = corrupt(flat(128), "impulse_noise", severity, constants=constants)[:, :, 1:]
    for extreme in (0, 1):
        found = (values == extreme).float().mean().item()
        assert found == pytest.approx(share / 2, abs=5 * math.sqrt(share / 2 / values.numel()))
    assert ((values == 0) | (values == 1) | ((values * 255).round() == 128)).all()
    hit = (values * 255).round() != 128
    both = (hit[:, 0] & hit[:, 1]).float().mean().item()
    assert both == pytest.approx(share**2, abs=0.004)  # each channel by itself


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_noise_is_white_and_its_own_in_every_channel(name: str) -> None:
    noise = corrupt(flat(128), name, 5)[:, :, 1:].double()
    noise = noise - noise.mean()
    power = torch.fft.fft2(noise).abs().square().mean((0, 1)).flatten()[1:]
    assert (power / power.mean()).max() < 3  # 36 samples of each frequency
    pairs = torch.corrcoef(noise.transpose(0, 1).flatten(1))
    assert (pairs - torch.eye(3)).abs().max() < 0.03


# Blur: by dense matrices, and by what comes of a single point.


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


# Weather.


def clouds(given: Given, side: int, decay: float) -> np.ndarray:
    """The plasma fractal, element by element."""
    field, step, wibble, numbers = np.zeros((side, side)), side, 100.0, iter(given.made)

    def noise(shape):
        return wibble * (2 * next(numbers)[0].numpy().astype(float).reshape(shape) - 1) * wibble

    while step > 1:
        half, count = step // 2, side // step
        corner = [(i * step, j * step) for i in range(count) for j in range(count)]
        rough = noise(len(corner))
        for (i, j), extra in zip(corner, rough, strict=True):
            far = [((i + a) % side, (j + b) % side) for a in (0, step) for b in (0, step)]
            field[i + half, j + half] = sum(field[p] for p in far) / 4 + extra
        first, second = noise(len(corner)), noise(len(corner))
        new = {}
        for (i, j), one, two in zip(corner, first, second, strict=True):
            for (y, x), extra in (((i, j + half), one), ((i + half, j), two)):
                near = [
                    ((y + a) % side, (x + b) % side)
                    for a, b in ((0, half), (0, -half), (half, 0), (-half, 0))
                ]
                new[y, x] = sum(field[p] for p in near) / 4 + extra
        for place, value in new.items():
            field[place] = value
        step, wibble = half, wibble / decay
    return (field - field.min()) / (field.max() - field.min())


@BOTH
@SEVERITY
def test_fog(severity: int, constants: str) -> None:
    thick, decay = constant("fog", constants, severity)
    image, given = photo(28, height=20), Given(severity)
    found = corruption_named("fog").run(image[None], (thick, decay), given)[0]
    plain = levels(image) / 255
    most = plain.max()
    wanted = (plain + thick * clouds(given, 32, decay)[:20, :28, None]) * most / (most + thick)
    np.testing.assert_allclose(levels(found) / 255, wanted, atol=2e-6)


@BOTH
@SEVERITY
def test_snow_whitens_by_a_known_amount_where_no_flake_falls(severity: int, constants: str) -> None:
    mean, deviation, _, least, _, _, keep = constant("snow", constants, severity)

    class Calm(Given):
        def normal(self, shape, like):
            return torch.full((1, *shape), self.value)

    image = photo(32)
    for value, flakes in ((least - mean - 0.01, False), (least - mean + 0.01, True)):
        given = Calm()
        given.value = value / deviation
        found = corruption_named("snow").run(image[None], constant("snow", constants, severity), given)[0]
        plain = levels(image) / 255
        grey = plain @ [0.299, 0.587, 0.114]
        wanted = keep * plain + (1 - keep) * np.maximum(plain, 1.5 * grey[..., None] + 0.5)
        layer = np.floor(min(mean + value, 1) * 255 + 1e-3) / 255 if flakes else 0
        np.testing.assert_allclose(levels(found) / 255, wanted + 2 * layer, atol=3e-3)


@BOTH
@SEVERITY
def test_snow(severity: int, constants: str) -> None:
    mean, deviation, zoom, least, radius, sigma, keep = constant("snow", constants, severity)
    image, given = photo(48), Given(severity)
    found = corruption_named("snow").run(image[None], constant("snow", constants, severity), given)[0]
    normal, turn = given.made[0][0, 0].numpy().astype(float), given.made[-1].item()
    flakes = enlarged((mean + deviation * normal)[..., None], zoom)
    flakes = np.floor(np.clip(np.where(flakes < least, 0, flakes), 0, 1) * 255 + JUST_BELOW)
    flakes = np.round(moved(flakes, radius, sigma, -135 + 90 * turn)) / 255
    plain = levels(image) / 255
    white = np.maximum(plain, 1.5 * (plain @ [0.299, 0.587, 0.114])[..., None] + 0.5)
    wanted = keep * plain + (1 - keep) * white + flakes + np.rot90(flakes, 2)
    away = np.abs(levels(found) / 255 - wanted)
    assert away.max() < 2.1 / 255
    assert (away > 1e-4).mean() < 0.02


def test_snow_falls_more_down_than_across() -> None:
    images = torch.zeros(60, 1, 32, 32)
    images[:, 0, 0, 0] = torch.arange(60) / 255
    flakes = corrupt(images, "snow", 4)[:, 0, 4:, 4:]
    down, across = ((flakes.diff(dim=axis)).abs().mean().item() for axis in (1, 2))
    assert down < 0.75 * across


@BOTH
@SEVERITY
def test_frost_is_the_scene_and_a_texture_by_the_published_weights(severity: int, constants: str) -> None:
    scene, ice = constant("frost", constants, severity)
    known = corruption_named("frost")
    own = known.constants[constants][severity - 1]
    image, black = photo(32), torch.zeros(3, 32, 32)
    found, alone = (known.run(one[None], own, Given(7))[0] for one in (image, black))
    torch.testing.assert_close(found, scene * image + alone, rtol=0, atol=1e-5)
    assert alone.min() >= 0
    assert alone.max() <= ice + 1e-6


def test_frosts_textures_have_the_photographs_means_and_contrasts() -> None:
    black = torch.zeros(300, 3, 96, 96)
    black[:, 0, 0, 0] = torch.arange(300) / 255 % 1
    black[:, 1, 0, 0] = (torch.arange(300) > 255).float()
    texture = corrupt(black, "frost", 1, constants="imagenet") / 0.4
    mean, deviation = texture.mean((2, 3)), texture.mean(1).std((1, 2))
    # Means of the five photographs: a blue one, two white ones, two grey ones.
    kinds = torch.tensor([[0.30, 0.58, 0.65], [0.79, 0.81, 0.84], [0.54, 0.60, 0.65], [0.44, 0.48, 0.53]])
    nearest = (mean[:, None] - kinds).abs().amax(2)
    assert nearest.amin(1).max() < 0.05
    counts = nearest.argmin(1).bincount(minlength=4) / 300
    torch.testing.assert_close(counts, torch.tensor([0.2, 0.4, 0.2, 0.2]), atol=0.08, rtol=0)
    assert deviation.min() > 0.05
    assert deviation.max() < 0.2
    # Needles: the pattern of an image is longer in some directions than in others.
    power = torch.fft.fft2(texture[:, 0] - texture[:, 0].mean((1, 2), keepdim=True)).abs().square()
    assert power[:, 1:8, 1:8].mean() > 8 * power[:, 30:40, 30:40].mean()


@BOTH
@SEVERITY
def test_brightness(severity: int, constants: str) -> None:
    more = constant("brightness", constants, severity)
    image = photo(12)
    image[:, 0, 0], image[:, 0, 1] = 0, 1
    wanted = recoloured(image, lambda h, s, v: (h, s, min(v + more, 1)))
    close(made("brightness", image, severity, constants), wanted)


@BOTH
@SEVERITY
def test_spatter(severity: int, constants: str) -> None:
    """Drops are where smoothed noise is high, of the colour of water or mud."""
    mean, deviation, sigma, least, strength, mud = constant("spatter", constants, severity)
    images, given = torch.full((1, 3, 96, 96), 0.2), Given(3)
    found = corruption_named("spatter").run(images, constant("spatter", constants, severity), given)[0]
    noise = mean + deviation * given.made[0][0, 0].numpy().astype(float)
    liquid = blurred(noise[..., None], sigma)[..., 0]
    changed = (found - 0.2).abs().amax(0).numpy()
    if mud:
        cover = blurred((liquid > least).astype(float)[..., None], strength)[..., 0]
        cover[np.abs(cover - 0.8) < 1e-6] = np.nan
        cover = np.where(cover < 0.8, 0, cover)
        wanted = 0.2 * (1 - cover) + np.array([63, 42, 20])[:, None, None] / 255 * cover
        sure = ~np.isnan(cover)
        assert np.abs(found.numpy() - wanted)[:, sure].max() < 1e-4
        return
    assert changed[liquid < least - 1e-4].max() == 0
    drops = liquid > least + 1e-4
    assert 0.01 < drops.mean() < 0.6
    assert (changed[drops] > 0).mean() > 0.3
    assert changed.max() == pytest.approx(strength * 238 / 255, rel=0.02)
    red, green, blue = (found - 0.2)[:, changed > 0.02]
    torch.testing.assert_close(green, blue)
    torch.testing.assert_close(red, green * 175 / 238, rtol=1e-3, atol=1e-4)


# Digital.


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
