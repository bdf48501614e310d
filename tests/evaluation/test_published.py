"""Published corrupted images: which are taken, with which labels, and files that are not as they must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from corrupt_networks import reader, stripes

from decoupled_nets.data import load_data
from decoupled_nets.evaluation import corrupt as room
from decoupled_nets.evaluation.corrupt import corrupt
from decoupled_nets.evaluation.corrupt_config import CorruptConfig
from decoupled_nets.evaluation.corrupt_page import write_page
from decoupled_nets.evaluation.published import Published
from decoupled_nets.robustness.corruptions import corrupt as corrupted_images


@pytest.fixture
def files(tmp_path):
    """Our own corruptions of the test images, laid out as CIFAR-10-C is."""
    folder = tmp_path / "stripes-c"
    folder.mkdir()
    images, labels = load_data(stripes()).test_subset(24)
    for name in ("contrast", "fog"):
        rows = [corrupted_images(images, name, s, constants="cifar") for s in (1, 2, 3, 4, 5)]
        pixels = (torch.cat(rows) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        np.save(folder / f"{name}.npy", pixels)
    np.save(folder / "labels.npy", np.tile(labels.numpy().astype(np.uint8), 5))
    return folder


@pytest.fixture(autouse=True)
def readers(monkeypatch):
    monkeypatch.setattr(room, "find_targets", lambda places, plugin=None: [reader("one"), reader("two", 0.4)])
    monkeypatch.setattr(room, "write_page", lambda *given: [])


def config(**options) -> CorruptConfig:
    return CorruptConfig(data=stripes(), **{"severities": "2,5", "images": 0, **options})


@pytest.mark.parametrize("images", [0, 9])
def test_published_images_of_our_own_give_our_own_numbers(files, tmp_path, images) -> None:
    named = config(images=images, corruptions="contrast,fog")
    there, _ = corrupt(["one"], named, tmp_path / "there", published=str(files), quiet=True)
    here, _ = corrupt(["one"], named, tmp_path / "here", quiet=True)
    assert there.images == here.images == (images or 24)
    assert there.constants == ""
    for label in ("one", "two"):
        for cell in here.cells:
            assert np.array_equal(there.predicted[label][cell], here.predicted[label][cell])


def test_all_are_those_that_have_files(files, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(room, "write_page", write_page)
    result, paths = corrupt(["one"], config(), tmp_path / "out", published=str(files), quiet=True)
    assert [one.name for one in result.kinds] == ["fog", "contrast"]
    assert result.notes[0] == f"the corrupted images are those of {files}"
    assert result.notes[1].startswith("it has no files of gaussian_noise")
    assert f"published: {files}" in paths[0].read_text()
    assert f"--from {files}" in (tmp_path / "out" / "report.html").read_text()


def test_labels_are_the_files_own(files, tmp_path) -> None:
    """In another order than the test images: then numbers without corruption are of other images."""
    order = np.random.default_rng(0).permutation(24)
    labels = np.load(files / "labels.npy").reshape(5, 24)[:, order].ravel()
    pixels = np.load(files / "fog.npy").reshape(5, 24, 16, 16, 3)[:, order].reshape(120, 16, 16, 3)
    straight, _ = corrupt(["one"], config(), tmp_path / "a", published=str(files), quiet=True)
    np.save(files / "labels.npy", labels)
    np.save(files / "fog.npy", pixels)
    (files / "contrast.npy").unlink()
    result, _ = corrupt(["one"], config(), tmp_path / "b", published=str(files), quiet=True)
    assert any("do not stand in the order of the test images" in note for note in result.notes)
    assert np.array_equal(straight.right("one")[:, 0], result.right("one")[:, 0])
    places = [straight.cells.index(("fog", s)) for s in (2, 5)]
    assert np.array_equal(straight.right("one")[:, places].sum(0), result.right("one")[:, 1:].sum(0))


def test_other_files_are_other_results(files, tmp_path) -> None:
    corrupt(["one"], config(), tmp_path / "out", published=str(files), quiet=True)
    np.save(files / "fog.npy", 255 - np.load(files / "fog.npy"))
    with pytest.raises(ValueError, match=r"holds the results of something else: options\.published"):
        corrupt(["one"], config(), tmp_path / "out", published=str(files), quiet=True)


def test_what_does_not_suit(files, tmp_path) -> None:
    with pytest.raises(ValueError, match="constants = 'cifar' received with published images"):
        corrupt(["one"], config(constants="cifar"), tmp_path / "o", published=str(files), quiet=True)
    larger = CorruptConfig(data=stripes(image_size=20))
    with pytest.raises(ValueError, match=r"16 × 16 pixels in 3 channels and .* of 20 × 20 pixels in 3"):
        corrupt(["one"], larger, tmp_path / "o", published=str(files), quiet=True)
    np.save(files / "labels.npy", np.tile(np.arange(24), 5))
    with pytest.raises(ValueError, match=r"has labels up to 23 and .* 4 classes"):
        corrupt(["one"], config(), tmp_path / "o", published=str(files), quiet=True)
    np.save(files / "labels.npy", np.arange(120))
    with pytest.raises(ValueError, match="other labels at other severities"):
        Published(files)
    np.save(files / "labels.npy", np.zeros(24))
    with pytest.raises(ValueError, match=r"holds float64 of shape \(24,\); needed: whole numbers"):
        Published(files)
    np.save(files / "labels.npy", np.zeros(60, np.uint8))
    with pytest.raises(ValueError, match=r"of shape \(120, 16, 16, 3\); needed: uint8 \(60, H, W, C\)"):
        Published(files)
    with pytest.raises(FileNotFoundError, match=r"holds no labels\.npy or no file such as fog\.npy"):
        Published(tmp_path)


def test_nothing_is_unpickled(files) -> None:
    np.save(files / "labels.npy", np.array([{}] * 120, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        Published(files)
