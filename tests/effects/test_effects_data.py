"""Every option of the data, by the images and labels that come out."""

from __future__ import annotations

import csv
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from proofs import proves
from torchvision import datasets

from decoupled_nets.data import DataConfig, load_data, parquet
from decoupled_nets.data.memory import MemoryStore
from decoupled_nets.data.stream import StreamStore
from decoupled_nets.data.torchvision_sets import SETS

THREADS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def grey(folder: Path, shade: int, size: tuple[int, int] = (8, 8), mode: str = "L") -> Path:
    """A grey image, told by its shade; darker on the left than on the right."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(size, shade, dtype=np.uint8)
    pixels[:, 0] = 0
    Image.fromarray(pixels).convert(mode).save(folder)
    return folder


def write(root: Path, each: dict[str, int], classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """``root/<split>/<class>/<n>.png``; all shades differ."""
    shade = 10
    for split, images in each.items():
        for name in classes:
            for n in range(images):
                grey(root / split / name / f"{n:02}.png", shade)
                shade += 1
    return root


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "pets", {"train": 20, "val": 4, "test": 4})


def shades(images: torch.Tensor) -> list[int]:
    """The shade of every image, wherever the dark column lies."""
    return (255 * images.flatten(1).amax(1)).round().int().tolist()


def all_of(loader) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def of(root: Path | str, role: str, **options) -> list[int]:
    data = load_data(DataConfig(str(root), workers=0, **options))
    loader = data.train_loader(1, 0) if role == "train" else getattr(data, f"{role}_loader")(64)
    return sorted(shades(all_of(loader)[0]))


@proves(DataConfig, "data")
def test_data_names_the_images(root, tmp_path):
    other = write(tmp_path / "others", {"train": 4, "val": 2, "test": 2}, ("ant", "bee", "cow"))
    assert load_data(DataConfig(str(root))).classes == ("cat", "dog")
    assert load_data(DataConfig(str(other))).classes == ("ant", "bee", "cow")
    assert load_data(DataConfig("synthetic")).classes[0] == "horizontal"


@proves(DataConfig, "data_root")
def test_data_root_goes_before_the_environment(tmp_path, monkeypatch):
    roots = []
    monkeypatch.setattr(
        datasets.CIFAR10, "__init__", lambda self, root, **more: (roots.append(root), _cifar(self))[1]
    )
    monkeypatch.setenv("DECOUPLED_DATA", str(tmp_path / "environment"))
    load_data(DataConfig("cifar10", data_root=str(tmp_path / "option")))
    load_data(DataConfig("cifar10"))
    assert [Path(root).name for root in roots] == ["option", "option", "environment", "environment"]


def _cifar(self) -> None:
    self.data = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    self.targets, self.classes = [0, 1] * 10, ["a", "b"]


@proves(DataConfig, "download")
@pytest.mark.parametrize("download", [False, True])
def test_download(download, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        datasets.CIFAR10,
        "__init__",
        lambda self, root, download, **more: (asked.append(download), _cifar(self))[1],
    )
    load_data(DataConfig("cifar10", data_root=str(tmp_path), download=download))
    assert asked == [download] * 2


@proves(DataConfig, "train_split", "val_split", "test_split")
def test_splits_by_name(tmp_path):
    root = write(tmp_path / "pets", {"a": 4, "b": 3, "c": 2})
    names = {"train_split": "b", "val_split": "c", "test_split": "a"}
    assert of(root, "train", **names) == list(range(18, 24))
    assert of(root, "val", **names) == list(range(24, 28))
    assert of(root, "test", **names) == list(range(10, 18))


@proves(DataConfig, "train_split")
def test_a_folder_whose_classes_are_called_like_splits(tmp_path):
    root = write(tmp_path, {"train": 12, "test": 12}, ("",))
    data = load_data(DataConfig(str(root), train_split="."))
    assert data.classes == ("test", "train")
    assert data.train_size + data.val_size + data.test_size == 24


@proves(DataConfig, "image_column", "label_column")
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_columns(kind, tmp_path):
    names = [f"{n}.png" for n in range(24)]
    for n, name in enumerate(names):
        grey(tmp_path / name, 50 + n)
        grey(tmp_path / f"b{name}", 150 + n)
    colours, sizes = ["red", "blue"] * 12, ["big"] * 12 + ["small"] * 12
    if kind == "csv":
        path = tmp_path / "list.csv"
        with path.open("w", newline="") as file:
            rows = zip(names, [f"b{name}" for name in names], colours, sizes, strict=True)
            csv.writer(file).writerows([["first", "second", "colour", "size"], *rows])
    else:
        path = tmp_path / "train.parquet"
        images = {
            column: [(tmp_path / f"{prefix}{name}").read_bytes() for name in names]
            for column, prefix in (("first", ""), ("second", "b"))
        }
        pq.write_table(pa.table({**images, "colour": colours, "size": sizes}), path)
    for image, lowest in (("first", 50), ("second", 150)):
        for label, classes in (("colour", ("blue", "red")), ("size", ("big", "small"))):
            options = {"image_column": image, "label_column": label, "augment": False, "workers": 0}
            data = load_data(DataConfig(str(path), **options))
            assert data.classes == classes
            images, labels = (
                torch.cat(part)
                for part in zip(
                    *(
                        all_of(data.train_loader(1, 0)),
                        all_of(data.val_loader(64)),
                        all_of(data.test_loader(64)),
                    ),
                    strict=True,
                )
            )
            numbers = [shade - lowest for shade in shades(images)]
            assert sorted(numbers) == list(range(24))
            wanted = colours if label == "colour" else sizes
            assert [classes[k] for k in labels.tolist()] == [wanted[n] for n in numbers]


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


@proves(DataConfig, "train_size", "val_size", "test_size")
def test_sizes_are_balanced_parts_of_what_there_is(root):
    data = load_data(DataConfig(str(root), train_size=10, val_size=2, test_size=6, workers=0))
    assert [
        len(set(of(root, role, train_size=10, val_size=2, test_size=6))) for role in ("train", "val", "test")
    ] == [10, 2, 6]
    assert data.train.labels.bincount().tolist() == [5, 5]
    assert data.val.labels.bincount().tolist() == [1, 1]
    assert data.test.labels.bincount().tolist() == [3, 3]


@proves(DataConfig, "val_size")
def test_val_size_is_cut_out_where_there_is_no_validation_split(tmp_path):
    root = write(tmp_path, {"train": 20, "test": 2})
    data = load_data(DataConfig(str(root), val_size=12, workers=0))
    assert (data.train_size, data.val_size) == (28, 12)
    assert not set(of(root, "train", val_size=12)) & set(of(root, "val", val_size=12))


@proves(DataConfig, "split_seed")
def test_split_seed_decides_which_images_are_cut_out(tmp_path):
    root = write(tmp_path, {".": 40})
    for role in ("val", "test"):
        zero, again, one = (of(root, role, split_seed=seed) for seed in (0, 0, 1))
        assert zero == again
        assert zero != one


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


def test_an_error_names_file_and_row_of_the_second_parquet_file(tmp_path):
    content = grey(tmp_path / "one.png", 9).read_bytes()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for number in range(2):
        rows = [{"bytes": content, "path": None}] * 6
        if number:
            rows[4] = {"bytes": b"no image", "path": None}
        table = pa.table({"image": pa.array(rows, kind), "label": ["a", "b"] * 3})
        pq.write_table(table, tmp_path / f"train-0000{number}-of-00002.parquet", row_group_size=2)
    with pytest.raises(ValueError, match=r"train-00001-of-00002\.parquet, row 4"):
        load_data(DataConfig(str(tmp_path / "*.parquet"), image_size=8, workers=0))


def test_a_description_says_what_the_images_are(root):
    """What is printed, and what stands in the report, is what was loaded."""
    data = load_data(DataConfig(str(root), train_size=10, mirror=False, workers=0))
    found = json.loads(json.dumps(data.found.to_dict()))
    assert [split["images"] for split in found["splits"]] == [10, 8, 8]
    assert "mirrored" not in found["augmentation"]
    assert "no augmentation" in load_data(DataConfig(str(root), augment=False)).found.augmentation


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
    self.labels, self.classes = [0, 1] * 12, ["a", "b"]
    type(self).targets = property(lambda self: self.labels)


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
