"""Corruptions by weather, each beside a formula of its own, in float64."""

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
    recoloured,
)

from decoupled_nets.robustness.corruptions import corrupt, corruption_named


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
