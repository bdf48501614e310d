"""Data options: what becomes of the pixels, and where they are held."""

from __future__ import annotations

import multiprocessing
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from grey_images import all_of, grey, shades
from PIL import Image
from proofs import proves

from decoupled_nets.data import DataConfig, load_data, parquet, stream
from decoupled_nets.data.memory import MemoryStore
from decoupled_nets.data.stream import StreamStore
from decoupled_nets.data.torchvision_sets import SETS

THREADS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@proves(DataConfig, "pixel_range")
def test_pixel_range(tmp_path):
    for split in ("train", "val", "test"):
        for k, name in enumerate(("cat", "dog")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            Image.fromarray(np.full((8, 8), 1000 + 500 * k, dtype=np.uint16)).save(folder / "0.png")
            Image.fromarray(np.full((8, 8), 3000, dtype=np.uint16)).save(folder / "1.png")
    own = load_data(DataConfig(str(tmp_path)))
    given = load_data(DataConfig(str(tmp_path), pixel_range=(0.0, 2000.0)))
    assert all_of(own.test_loader(8))[0].amax((1, 2, 3)).tolist() == pytest.approx([0, 1, 0.25, 1])
    assert all_of(given.test_loader(8))[0].amax((1, 2, 3)).tolist() == pytest.approx([0.5, 1, 0.75, 1])


@proves(DataConfig, "image_size")
@pytest.mark.parametrize(("image_size", "size"), [(None, (8, 8)), (6, (6, 6)), (12, (12, 12))])
def test_image_size(image_size, size, root):
    data = load_data(DataConfig(str(root), image_size=image_size, workers=0))
    assert data.image_size == size
    for loader in (data.train_loader(2, 0), data.val_loader(2), data.test_loader(2)):
        assert next(iter(loader))[0].shape[2:] == size


@proves(DataConfig, "augment")
def test_without_augmentation_training_images_are_as_they_are(root):
    def images(**options) -> torch.Tensor:
        data = load_data(DataConfig(str(root), **options))
        found, _ = all_of(data.train_loader(40, 0))
        return found[torch.tensor(shades(found)).argsort()]

    plain, moved = images(augment=False), images()
    assert bool((plain[:, :, :, 0] == 0).all())
    assert bool((plain[:, :, :, 1:] > 0).all())
    changed = (plain != moved).flatten(1).any(1)
    assert changed.sum() > 30  # shifts by 0 or 1 in both directions, and the mirror
    assert not torch.equal(all_of(load_data(DataConfig(str(root))).train_loader(40, 1))[0], moved)


@proves(DataConfig, "mirror")
def test_mirror(tmp_path):
    """White above black on the left half only: a mirrored image is white on the right."""
    pixels = np.zeros((16, 16), dtype=np.uint8)
    pixels[4:8, 4:8] = 255  # shifts are by 2 at most: the white stays in its quarter
    for split in ("train", "val", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for n in range(20):
                Image.fromarray(pixels).save(tmp_path / split / name / f"{n}.png")
    for mirror in (True, False):
        data = load_data(DataConfig(str(tmp_path), mirror=mirror))
        images, _ = all_of(data.train_loader(40, 0))
        left, top = images[..., :8].amax((1, 2, 3)) > 0, images[:, :, :10].amax((1, 2, 3)) > 0
        assert bool(top.all())  # never upside down
        assert 0 < int(left.sum()) < 40 if mirror else bool(left.all())
        for loader in (data.val_loader(8), data.test_loader(8)):
            assert bool((all_of(loader)[0][:, 0, 5, 5] == 1).all())


@THREADS
@proves(DataConfig, "workers")
@pytest.mark.parametrize("workers", [0, 2])
def test_workers_decode(workers, root):
    data = load_data(DataConfig(str(root), memory=0, workers=workers))
    batches = iter(data.train_loader(4, 0))
    next(batches)
    assert len(multiprocessing.active_children()) == workers
    assert len(list(batches)) == 9


@proves(DataConfig, "memory")
def test_memory_decides_where_images_are_held_and_no_pixel(root):
    size = 56 * 8 * 8  # bytes of all images
    more, less = ((size + change) / 2**30 for change in (1, -1))
    held, streamed = (load_data(DataConfig(str(root), memory=memory, workers=0)) for memory in (more, less))
    assert isinstance(held.train, MemoryStore)
    assert isinstance(streamed.train, StreamStore)
    assert (held.mean, held.std, held.digest) == (streamed.mean, streamed.std, streamed.digest)
    for one, other in zip(
        (held.train_loader(4, 0), held.val_loader(4), held.test_loader(4)),
        (streamed.train_loader(4, 0), streamed.val_loader(4), streamed.test_loader(4)),
        strict=True,
    ):
        assert all(map(torch.equal, all_of(one), all_of(other)))


def test_mean_and_deviation_are_those_of_the_training_pixels(root):
    data = load_data(DataConfig(str(root), augment=False, workers=0))
    pixels = all_of(data.train_loader(40, 0))[0].double()
    assert data.mean == pytest.approx([float(pixels.mean())], rel=1e-5)
    assert data.std == pytest.approx([float(pixels.std(correction=0))], rel=1e-5)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("parquet", [False, True])
def test_digits_are_never_mirrored(name, parquet, tmp_path, monkeypatch):
    """Neither in torchvision's files nor in Parquet files."""
    if parquet:
        content = grey(tmp_path / "one.png", 9).read_bytes()
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            table = pa.table({"image": [content] * 24, "label": [0, 1] * 12})
            pq.write_table(table, tmp_path / name / f"{split}.parquet")
    else:
        monkeypatch.setattr(SETS[name].make, "__init__", lambda self, *args, **more: _digits(self))
    data = load_data(DataConfig(name, data_root=str(tmp_path), workers=0))
    digits = {"mnist", "kmnist", "svhn"}
    assert data.train.transform.mirror == (name not in digits)


def _digits(self) -> None:
    self.data = np.zeros((24, 8, 8), dtype=np.uint8)
    self.labels = self.targets = [0, 1] * 12
    self.classes = ["a", "b"]


def test_readers_of_parquet_files_hold_a_few_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_HELD_BYTES", 1)
    content = grey(tmp_path / "one.png", 9).read_bytes()
    table = pa.table({"image": [content] * 60, "label": ["a", "b"] * 30})
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=1)
    data = load_data(DataConfig(str(tmp_path / "train.parquet"), memory=0, workers=0))
    parquet._held.clear()
    list(data.train_loader(4, 0))
    assert data.train.window == 4
    assert 1 <= len(parquet._held) <= 5


@THREADS
def test_workers_leave_interrupts_to_the_trainer(root, monkeypatch):
    """Ctrl-C reaches every process of a terminal; the step that is under way still needs its batch."""
    read = stream._Images.__getitem__

    def asked(self, sample):
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            raise RuntimeError("this worker would stop")
        return read(self, sample)

    data = load_data(DataConfig(str(root), memory=0, workers=1))
    monkeypatch.setattr(stream._Images, "__getitem__", asked)
    # A job in the background of a shell begins without interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert sum(len(labels) for _, labels in data.train_loader(4, 0)) == len(data.train.labels)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
