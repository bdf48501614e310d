"""What the library `datasets` reads: Arrow files and webdataset shards."""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile

import numpy as np
import pytest
import torch
from PIL import Image

from decoupled_nets.data import DataConfig, load_data

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def pixels(n):
    return np.random.default_rng(n).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def png(n):
    buffer = io.BytesIO()
    Image.fromarray(pixels(n)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def saved(tmp_path):
    """A folder of ``save_to_disk``, with two splits."""

    def rows(n):
        features = datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
        )
        data = {"image": [{"bytes": png(k), "path": None} for k in range(n)], "label": [0, 1] * (n // 2)}
        return datasets.Dataset.from_dict(data, features=features)

    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": rows(20), "test": rows(6)}).save_to_disk(str(tmp_path / "pets"))
    return tmp_path / "pets"


@pytest.mark.parametrize("memory", [1, 0])
def test_arrow_folders_are_read_where_they_are(saved, memory):
    (saved / "train" / "cache-1234.arrow").write_bytes(b"what datasets computed once")
    data = load_data(DataConfig(str(saved), memory=memory, workers=0))
    assert (data.name, data.classes) == ("pets", ("cat", "dog"))
    assert (data.train_size, data.val_size, data.test_size) == (18, 2, 6)
    image, label = data.test_image(3)
    assert torch.equal((image[0] * 255).round().byte(), torch.from_numpy(pixels(3)).permute(2, 0, 1))
    assert label == 1
    assert load_data(DataConfig(str(saved / "test"))).train_size == 2


def test_arrow_in_workers(saved):
    data = load_data(DataConfig(str(saved), memory=0, workers=1))
    alone = load_data(DataConfig(str(saved), memory=0, workers=0))
    for (images, _), (others, _) in zip(data.train_loader(4, 0), alone.train_loader(4, 0), strict=True):
        assert torch.equal(images, others)


def test_damaged_arrow_is_named(saved):
    path = next((saved / "train").glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"data-.*arrow cannot be read as Arrow"):
        load_data(DataConfig(str(saved)))


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """Tar files of samples."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "web").mkdir()
    for name, n in (("train-0000", 20), ("test-0000", 6)):
        with tarfile.open(tmp_path / "web" / f"{name}.tar", "w") as tar:
            for k in range(n):
                for ending, content in (("png", png(k)), ("cls", str(k % 2).encode())):
                    member = tarfile.TarInfo(f"{k:04}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return tmp_path / "web"


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_webdataset_shards(shards):
    data = load_data(DataConfig(str(shards), workers=0))
    assert (data.name, data.classes) == ("web", ("0", "1"))
    assert (data.train_size, data.val_size, data.test_size) == (18, 2, 6)
    assert torch.equal((data.test_image(5)[0][0] * 255).byte(), torch.from_numpy(pixels(5)).permute(2, 0, 1))
    assert any("read from a copy in" in note for note in data.found.notes)
    assert load_data(DataConfig(str(shards / "train-0000.tar"))).train_size == 14


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("shown", [True, False])
def test_whether_the_library_draws_bars_stays_as_it_was(shards, shown, monkeypatch):
    def damaged(*args, **more):
        raise datasets.exceptions.DatasetGenerationError("damaged")

    (datasets.enable_progress_bars if shown else datasets.disable_progress_bars)()
    try:
        load_data(DataConfig(str(shards), workers=0))
        assert datasets.are_progress_bars_disabled() == (not shown)
        monkeypatch.setattr(datasets, "load_dataset", damaged)
        with pytest.raises(ValueError, match="cannot be read as a webdataset"):
            load_data(DataConfig(str(shards), workers=0))
        assert datasets.are_progress_bars_disabled() == (not shown)
    finally:
        datasets.disable_progress_bars()


def test_without_the_library_the_extra_is_named(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"not installed; needed: pip install decoupled-nets\[datasets\]"):
        load_data(DataConfig(str(saved)))
