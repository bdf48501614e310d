"""Data sets by name, folder and file: what is read from where."""

from __future__ import annotations

import gzip
import importlib.util
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from decoupled_nets.data import DataConfig, load_data

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_sample.py"


def test_sample_is_balanced_and_grey():
    data = load_data(DataConfig())
    assert (data.train_size, data.val_size, data.test_size) == (9_000, 1_000, 2_000)
    assert (data.in_chans, data.image_size) == (1, (28, 28))
    assert data.classes[0] == "T-shirt/top"
    assert data.train.labels.bincount().tolist() == [900] * 10
    assert data.val.labels.bincount().tolist() == [100] * 10
    assert data.test.labels.bincount().tolist() == [200] * 10
    # The full training set's, as published: 0.2860, 0.3530.
    assert data.mean[0] == pytest.approx(0.286, abs=0.004)
    assert data.std[0] == pytest.approx(0.353, abs=0.004)


def test_synthetic_is_separable_and_always_the_same():
    one, two = load_data(DataConfig("synthetic")), load_data(DataConfig("synthetic"))
    (images, labels), (again, _) = one.test_subset(128), two.test_subset(128)
    assert torch.equal(images, again)
    train, train_labels = next(iter(load_data(DataConfig("synthetic", augment=False)).train_loader(512, 0)))
    colours = torch.stack([train[train_labels == label].std((0, 2, 3)) for label in range(4)])
    guesses = torch.cdist(images.std((2, 3)), colours).argmin(1)
    assert (guesses == labels).float().mean() > 0.9


def test_script_makes_the_same_bytes_each_time(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("make_sample", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "TRAIN_SIZE", 20)
    monkeypatch.setattr(script, "TEST_SIZE", 10)
    rng = np.random.default_rng(0)
    for name in ("train", "t10k"):
        labels = np.repeat(np.arange(10, dtype=np.uint8), 3)
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (30, 4, 4), np.uint8)),
            ("labels-idx1", labels),
        ):
            (tmp_path / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    written = []
    for name in ("one", "two"):
        monkeypatch.setattr("sys.argv", ["make_sample", str(tmp_path), "--output", str(tmp_path / name)])
        script.main()
        written.append((tmp_path / name / "fashion_mnist.npz").read_bytes())
    assert written[0] == written[1]
    with np.load(tmp_path / "one" / "fashion_mnist.npz", allow_pickle=False) as made:
        assert np.bincount(made["train_labels"]).tolist() == [2] * 10
        assert np.bincount(made["test_labels"]).tolist() == [1] * 10
    assert "Zalando" in (tmp_path / "one" / "LICENSE").read_text()


def idx(array):
    return struct.pack(f">4B{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_folder(make_folder, test):
    data = load_data(DataConfig(str(make_folder(("train", test)))))
    assert (data.name, data.classes, data.train_size, data.test_size) == ("pets", ("cat", "dog"), 18, 20)
    assert (data.in_chans, data.image_size) == (3, (8, 8))
    images, labels = next(iter(data.test_loader(20)))
    assert images.shape == (20, 3, 8, 8)
    assert labels.tolist() == [0] * 10 + [1] * 10


def test_folder_gives_the_pixels_of_its_files(make_folder):
    root = make_folder()
    images, _ = next(iter(load_data(DataConfig(str(root))).test_loader(20)))
    pixels = np.asarray(Image.open(root / "test" / "dog" / "02.png"))
    assert torch.equal((images[12] * 255).round().byte(), torch.tensor(pixels).permute(2, 0, 1))


@pytest.mark.parametrize("splits", [("train",), ("",)])
def test_folder_without_test_split_is_split_by_class(make_folder, splits):
    root = make_folder(splits)
    one, two = load_data(DataConfig(str(root))), load_data(DataConfig(str(root)))
    assert one.train.labels.bincount().tolist() == [7, 7]
    assert one.val.labels.bincount().tolist() == [1, 1]
    assert one.test.labels.bincount().tolist() == [2, 2]
    assert torch.equal(one.test_subset(4)[0], two.test_subset(4)[0])
    everything = torch.cat([one.train.images, one.val.images, one.test.images]).flatten(1).unique(dim=0)
    assert len(everything) == 20


def test_grey_folder_has_one_channel_and_a_mixed_one_three(make_folder, tmp_path):
    grey = make_folder(modes=("L",))
    assert load_data(DataConfig(str(grey))).in_chans == 1
    Image.new("RGB", (8, 8), "red").save(grey / "test" / "dog" / "99.png")
    mixed = load_data(DataConfig(str(grey)))
    assert mixed.in_chans == 3
    images, _ = next(iter(mixed.test_loader(21)))
    assert torch.equal(images[0, 0], images[0, 2])
    assert images[-1].flatten(1).unique(dim=1).flatten().tolist() == [1, 0, 0]


def test_image_size(make_folder):
    root = str(make_folder(sizes=((8, 10), (9, 8)), each=4))
    assert load_data(DataConfig(root)).image_size == (224, 224)
    assert load_data(DataConfig(root, image_size=12)).image_size == (12, 12)


def test_images_alike_but_not_square_keep_their_size(make_folder):
    data = load_data(DataConfig(str(make_folder(sizes=((8, 12),)))))
    assert next(iter(data.train_loader(4, 0)))[0].shape == (4, 3, 8, 12)


@pytest.mark.parametrize("memory", [2, 0])
def test_an_odd_image_beyond_the_probe_is_brought_to_the_size_of_the_others(make_folder, monkeypatch, memory):
    monkeypatch.setattr("decoupled_nets.data.image_data._PROBE", 2)
    root = make_folder(("train", "val", "test"))
    Image.new("RGB", (5, 7), "red").save(root / "test" / "cat" / "05.png")
    data = load_data(DataConfig(str(root), memory=memory, workers=0))
    assert data.image_size == (8, 8)
    assert any("by 6 of the images" in note for note in data.found.notes)
    image, _ = data.test_image(5)
    assert image.flatten(2).unique(dim=2).flatten().tolist() == [1, 0, 0]


def test_parquet_folder_file_and_glob(make_parquet):
    train = make_parquet()
    make_parquet("test-00000-of-00001.parquet", labels=(1, 0) * 3)
    for given in (train.parent, train.parent / "*.parquet", train.parent.parent):
        data = load_data(DataConfig(str(given)))
        assert (data.classes, data.train_size, data.test_size) == (("cat", "dog"), 18, 6)
        assert next(iter(data.test_loader(6)))[1].tolist() == [1, 0] * 3
    alone = load_data(DataConfig(str(train)))
    assert (alone.name, alone.train_size, alone.test_size) == (train.stem, 14, 4)


def test_parquet_other_columns_and_no_metadata(make_parquet):
    make_parquet("train.parquet", labels=(0, 1, 2) * 4, classes=None, image="image", label="fine_label")
    path = make_parquet("validation.parquet", labels=(0, 2), classes=None, image="image", label="fine_label")
    data = load_data(DataConfig(str(path.parent)))
    assert (data.classes, data.train_size, data.test_size) == (("0", "1", "2"), 9, 2)
    assert "validation.parquet has no images of class '1'" in data.found.notes


def write_mnist(root, folder):
    (root / folder / "raw").mkdir(parents=True)
    for name, size in (("train", 30), ("t10k", 10)):
        images = np.arange(size * 16, dtype=np.uint8).reshape(size, 4, 4)
        (root / folder / "raw" / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (root / folder / "raw" / f"{name}-labels-idx1-ubyte").write_bytes(
            idx(np.arange(size, dtype=np.uint8) % 10)
        )


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_torchvision_by_name(tmp_path, monkeypatch, name, folder):
    write_mnist(tmp_path, folder)
    data = load_data(DataConfig(name, data_root=str(tmp_path)))
    assert data.val.labels.bincount().tolist() == [1] * 10
    assert (data.name, data.in_chans, data.image_size, data.train_size) == (name, 1, (4, 4), 20)
    assert len(data.classes) == 10
    assert data.train.transform.mirror == (name == "fashion_mnist")
    monkeypatch.setenv("DECOUPLED_DATA", str(tmp_path))
    assert load_data(DataConfig(name)).test_size == 10


def test_named_set_as_parquet(make_parquet, monkeypatch):
    root = make_parquet().parent
    root.rename(root.with_name("cifar10"))
    monkeypatch.setenv("DECOUPLED_DATA", str(root.parent))
    data = load_data(DataConfig("cifar10"))
    assert (data.name, data.classes) == ("cifar10", ("cat", "dog"))


def test_cifar10_as_torchvision_stores_it(tmp_path, monkeypatch):
    """Planes of red, green and blue, in five training files and one test file."""
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": None})
    folder = tmp_path / datasets.CIFAR10.base_folder
    folder.mkdir()
    planes = np.repeat((np.arange(3072) // 1024 * 100).astype(np.uint8)[None], 20, 0)
    labels = [n % 10 for n in range(20)]
    for name, _ in (*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list):
        (folder / name).write_bytes(pickle.dumps({"data": planes, "labels": labels}))
    names = [f"class {n}" for n in range(10)]
    (folder / datasets.CIFAR10.meta["filename"]).write_bytes(pickle.dumps({"label_names": names}))
    data = load_data(DataConfig("cifar10", data_root=str(tmp_path), workers=0))
    assert (data.in_chans, data.image_size, data.classes) == (3, (32, 32), tuple(names))
    assert (data.train_size, data.val_size, data.test_size) == (90, 10, 20)
    assert data.mean == pytest.approx((0, 100 / 255, 200 / 255))
    image, label = data.test_image(13)
    assert [plane.unique().mul(255).round().tolist() for plane in image[0]] == [[0], [100], [200]]
    assert label == 3


def test_sizes_are_balanced_subsets():
    data = load_data(DataConfig(train_size=105, test_size=20))
    counts = data.train.labels.bincount()
    assert (data.train_size, counts.min(), counts.max()) == (105, 10, 11)
    assert data.test.labels.bincount().tolist() == [2] * 10
    assert data.test_subset(10)[1].bincount().tolist() == [1] * 10
    assert len(data.test_subset(1000)[1]) == 20


def test_parquet_of_several_sets(make_parquet):
    root = make_parquet("small/train.parquet").parents[1]
    make_parquet("large/train.parquet")
    with pytest.raises(ValueError, match=r"has Parquet files in large, small; needed: name one"):
        load_data(DataConfig(str(root)))
