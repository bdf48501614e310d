"""What every corruption has in common: severity, seeds, batches, sizes, channels, errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from corruption_cases import photos

from decoupled_nets.robustness import corruptions as room
from decoupled_nets.robustness.corruptions import constants_for, corrupt, corruptions

NAMES = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "spatter", "saturate",
)  # fmt: skip
CERTAIN = {
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur",
    "saturate",
}  # fmt: skip
#: Where the published constants do not rise from each severity to the next.
UNEVEN = {
    "cifar": {"frost", "saturate", "spatter", "elastic_transform", "glass_blur", "snow", "pixelate"},
    "imagenet": {"frost", "saturate", "spatter", "elastic_transform", "glass_blur", "snow", "pixelate"},
}
EVERY = pytest.mark.parametrize("name", NAMES)
BOTH = pytest.mark.parametrize("constants", ["cifar", "imagenet"])


def change(name: str, severity: int, constants: str, side: int = 32) -> float:
    """How much an image is changed: its pixels, or under a layer, which may keep the mean, its pattern."""
    images = photos(16, side)
    made = corrupt(images, name, severity, constants=constants)
    if name not in ("frost", "fog"):
        return (made - images).abs().mean().item()
    pairs = zip(images.flatten(1), made.flatten(1), strict=True)
    return sum(1 - torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in pairs) / len(images)


def test_all_are_there_in_the_published_order() -> None:
    assert tuple(corruptions()) == NAMES
    assert [one.name for one in corruptions().values() if one.held_back] == list(NAMES[15:])
    assert {one.group for one in corruptions().values()} == set(room.GROUPS)
    assert all(len(c) == 5 for one in corruptions().values() for c in one.constants.values())


def test_adding_a_file_is_all(tmp_path: Path) -> None:
    """A corruption is known by its decorator."""
    code = (
        "from decoupled_nets.robustness import corruptions as room\n"
        "import torch\n"
        "@room.corruption('negative', 'Negative', 20, group='digital', cifar=[1] * 5, imagenet=[1] * 5)\n"
        "def negative(images, constant, draws):\n"
        "    return 1 - images\n"
        "assert list(room.corruptions())[-1] == 'negative'\n"
        "assert room.corrupt(torch.zeros(1, 1, 8, 8), 'negative', 1).min() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@BOTH
@EVERY
def test_severity_raises_the_change(name: str, constants: str) -> None:
    side = 32 if constants == "cifar" else 96
    found = [change(name, severity, constants, side) for severity in room.SEVERITIES]
    assert min(found) > 0.5 / 255
    if name not in UNEVEN[constants]:
        assert found == sorted(found)
        assert found[4] > 1.2 * found[0]


@EVERY
def test_imagenets_constants_are_the_stronger_ones(name: str) -> None:
    """The commonest silent error is to measure small images with them."""
    if name in ("saturate", "elastic_transform", "spatter"):
        pytest.skip("of the same strength in part")
    for severity in room.SEVERITIES:
        assert change(name, severity, "imagenet") > change(name, severity, "cifar")


@pytest.mark.parametrize(("side", "own"), [(64, "cifar"), (65, "imagenet")])
def test_auto_goes_by_the_longer_side(side: int, own: str) -> None:
    images = photos(1, side, height=16)
    assert constants_for(16, side) == constants_for(side, 16) == own
    for name in ("gaussian_noise", "jpeg_compression"):
        assert torch.equal(corrupt(images, name, 3), corrupt(images, name, 3, constants=own))


@EVERY
def test_the_same_bits_in_any_batch_and_order(name: str) -> None:
    images = torch.cat(
        [photos(9), torch.rand(4, 3, 32, 32), torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)]
    )
    for constants in ("cifar", "imagenet"):
        whole = corrupt(images, name, 4, constants=constants)
        parts = torch.cat([corrupt(part, name, 4, constants=constants) for part in images.split(7)])
        single = torch.cat([corrupt(image[None], name, 4, constants=constants) for image in images])
        order = torch.randperm(len(images))
        assert torch.equal(whole, parts)
        assert torch.equal(whole, single)
        assert torch.equal(whole[order], corrupt(images[order], name, 4, constants=constants))


@EVERY
def test_the_same_bits_with_more_threads(name: str) -> None:
    images = photos(3, 48)
    torch.set_num_threads(1)
    one = corrupt(images, name, 5, constants="imagenet")
    torch.set_num_threads(3)
    assert torch.equal(one, corrupt(images, name, 5, constants="imagenet"))


def test_large_batches_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    images, seen = photos(5, 16), []
    monkeypatch.setattr(room, "_CHUNK", 2 * images[0].numel())
    known = corruptions()["brightness"]

    def run(part, constant, draws):
        seen.append(len(part))
        return known.run(part, constant, draws)

    monkeypatch.setitem(room._FOUND, "brightness", known)
    monkeypatch.setattr(room, "corruption_named", lambda name: room.Known(**{**vars(known), "run": run}))
    made = corrupt(images, "brightness", 2)
    assert seen == [2, 2, 1]
    monkeypatch.undo()
    assert torch.equal(made, corrupt(images, "brightness", 2))


@pytest.mark.parametrize("name", sorted(set(NAMES) - CERTAIN))
def test_random_numbers_depend_on_image_severity_name_and_seed(name: str) -> None:
    images = photos(2)
    made = corrupt(images, name, 3)
    assert torch.equal(made, corrupt(images, name, 3, seed=0))
    assert not torch.equal(made, corrupt(images, name, 3, seed=1))
    # One changed pixel leads to other numbers everywhere.
    other = images.clone()
    other[:, 0, 0, 0] = 1 - other[:, 0, 0, 0].round()
    away = corrupt(other, name, 3)[:, :, 16:, 16:] != made[:, :, 16:, 16:]
    assert away.float().mean() > 0.01


def test_noise_is_another_at_another_severity_and_of_another_name() -> None:
    images = torch.full((1, 3, 64, 64), 0.5)
    made = [
        corrupt(images, *how) - 0.5
        for how in (("gaussian_noise", 4), ("gaussian_noise", 5), ("speckle_noise", 5))
    ]
    pairs = torch.corrcoef(torch.stack([noise.flatten() for noise in made]))
    assert (pairs - torch.eye(3)).abs().max() < 0.05


@pytest.mark.parametrize("name", sorted(CERTAIN))
def test_the_others_have_none(name: str) -> None:
    images = photos(2)
    assert torch.equal(corrupt(images, name, 3), corrupt(images, name, 3, seed=1))


@EVERY
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 8), (1, 8, 8), (3, 9, 31), (3, 45, 17), (1, 70, 33)])
def test_every_size_and_channel(name: str, shape: tuple[int, ...]) -> None:
    images = photos(2, shape[2], shape[0], shape[1])
    for constants in ("cifar", "imagenet"):
        for severity in (1, 5):
            made = corrupt(images, name, severity, constants=constants)
            assert made.shape == images.shape
            assert made.dtype == images.dtype
            assert made.isfinite().all()
            assert made.min() >= 0
            assert made.max() <= 1
            torch.testing.assert_close(made * 255, (made * 255).round(), rtol=0, atol=1e-4)


@EVERY
def test_a_tall_image_is_a_wide_one_turned(name: str) -> None:
    """Height and width are not mixed up: what differs is in size what differs, turned."""
    if name in ("snow", "motion_blur"):
        pytest.skip("have a direction")
    wide, tall = photos(6, 40, height=12), photos(6, 40, height=12).transpose(2, 3).contiguous()
    one, two = ((corrupt(x, name, 3) - x).abs().mean().item() for x in (wide, tall))
    assert one == pytest.approx(two, rel=0.35)


@pytest.mark.parametrize("name", sorted(CERTAIN - {"jpeg_compression"}))
def test_grey_is_the_colour_image_of_three_equal_channels(name: str) -> None:
    grey = photos(2, 32, 1)
    for severity in (1, 3, 5):
        made = corrupt(grey, name, severity)
        if name == "saturate":
            assert torch.equal(made, grey)
            assert not corruptions()[name].grey
        else:
            three = corrupt(grey.expand(-1, 3, -1, -1), name, severity)
            assert ((three - made).abs().max() * 255).round() <= 1


def test_grey_jpeg_is_like_that_of_three_equal_channels() -> None:
    grey = photos(2, 32, 1)
    three = corrupt(grey.expand(-1, 3, -1, -1), "jpeg_compression", 3).mean(1, keepdim=True)
    assert (three - corrupt(grey, "jpeg_compression", 3)).abs().mean() < 1 / 255


@EVERY
def test_types_and_empty_batches(name: str) -> None:
    images = photos(2)
    plain = corrupt(images, name, 2)
    for dtype in (torch.float64, torch.float16):
        made = corrupt(images.to(dtype), name, 2)
        assert made.dtype == dtype
        torch.testing.assert_close(made.float(), plain, rtol=0, atol=1e-3)
    assert corrupt(images[:0], name, 2).shape == (0, 3, 32, 32)
    grown = images.clone().requires_grad_()
    assert not corrupt(grown.detach(), name, 2).requires_grad


@EVERY
def test_black_and_white_images(name: str) -> None:
    for value in (0.0, 1.0):
        for channels in (1, 3):
            made = corrupt(torch.full((1, channels, 16, 16), value), name, 4, constants="imagenet")
            assert made.isfinite().all()


@EVERY
def test_the_layout_in_memory_changes_nothing(name: str) -> None:
    images = photos(3)
    other = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(corrupt(images, name, 4), corrupt(other, name, 4))


def test_images_are_taken_with_8_bits() -> None:
    """What lies between two levels counts as the nearer one, so that noise on pixels changes no key."""
    images = photos(2)
    near = (images + 0.2 / 255 * torch.rand_like(images)).clamp(0, 1)
    for name in ("gaussian_noise", "contrast"):
        assert torch.equal(corrupt(images, name, 3), corrupt(near, name, 3))


@pytest.mark.parametrize(
    ("images", "severity", "constants", "message"),
    [
        (
            torch.rand(2, 3, 32, 32) * 255,
            1,
            "auto",
            r"pixels from .* received; needed: from 0 to 1, before norm",
        ),
        (torch.full((1, 3, 32, 32), float("nan")), 1, "auto", "needed: from 0 to 1"),
        (torch.rand(3, 32, 32), 1, "auto", r"images of shape \(3, 32, 32\) received"),
        (torch.rand(1, 2, 32, 32), 1, "auto", "1 or 3 channels"),
        (torch.rand(1, 3, 7, 32), 1, "auto", "at least 8 pixels"),
        (torch.rand(1, 3, 32, 32), 0, "auto", "severity = 0 received; needed: 1, 2, 3, 4 or 5"),
        (torch.rand(1, 3, 32, 32), 6, "auto", "severity = 6 received"),
        (torch.rand(1, 3, 32, 32), True, "auto", "severity = True received"),
        (
            torch.rand(1, 3, 32, 32),
            1,
            "cifar10",
            "constants = 'cifar10' received; needed: 'auto', 'cifar' or",
        ),
    ],
)
def test_wrong_input(images, severity, constants, message) -> None:
    with pytest.raises(ValueError, match=message):
        corrupt(images, "fog", severity, constants=constants)


def test_wrong_names_and_types() -> None:
    with pytest.raises(
        ValueError, match=r"unknown corruption 'gaussian noise' \(did you mean 'gaussian_noise'"
    ):
        corrupt(torch.rand(1, 3, 32, 32), "gaussian noise", 1)
    with pytest.raises(TypeError, match=r"images of torch.uint8 received; needed: a tensor of floats"):
        corrupt(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "fog", 1)
    with pytest.raises(TypeError, match="images of list received"):
        corrupt([[0.5]], "fog", 1)
