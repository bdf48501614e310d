"""Data options: which images are read, and which set they are in."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from grey_images import all_of, grey, of, shades, write
from proofs import proves
from torchvision import datasets

from decoupled_nets.data import DataConfig, load_data


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
