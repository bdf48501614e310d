"""Every source, and every way in which it can be wrong."""

from __future__ import annotations

import gzip
import importlib.util
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

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


@pytest.mark.skipif(
    not (Path(os.environ.get("DECOUPLED_DATA", "nowhere")) / "cifar10").is_dir(), reason="no CIFAR-10 given"
)
def test_cifar10():
    data = load_data(DataConfig("cifar10", train_size=1000, test_size=100))
    assert (data.in_chans, data.image_size, len(data.classes)) == (3, (32, 32), 10)
    assert data.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.02)
    assert data.train.labels.bincount().tolist() == [100] * 10


def test_sizes_are_balanced_subsets():
    data = load_data(DataConfig(train_size=105, test_size=20))
    counts = data.train.labels.bincount()
    assert (data.train_size, counts.min(), counts.max()) == (105, 10, 11)
    assert data.test.labels.bincount().tolist() == [2] * 10
    assert data.test_subset(10)[1].bincount().tolist() == [1] * 10
    assert len(data.test_subset(1000)[1]) == 20


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"data": "cfar10"},
            r"unknown data 'cfar10' \(did you mean 'cifar10'\?\); known: sample, synthetic, mn",
        ),
        ({"data": "xyzzy"}, r"unknown data 'xyzzy'; known"),
        (
            {"data": "cifar10"},
            r"'cifar10' received without the folder .* needed: data_root, or .* DECOUPLED_DATA",
        ),
        ({"train_size": 10_001}, r"train_size = 10001 received; needed: at most 9000"),
        ({"test_size": 0}, r"test_size = 0 received; needed: at least 1"),
        ({"workers": -1}, r"workers = -1 received; needed: 0 or more"),
    ],
)
def test_bad_configuration(config, message, monkeypatch):
    monkeypatch.delenv("DECOUPLED_DATA", raising=False)
    with pytest.raises(ValueError, match=message):
        load_data(DataConfig(**config))


def test_paths_that_do_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no/such/folder does not exist"):
        load_data(DataConfig(str(tmp_path / "no/such/folder")))
    with pytest.raises(FileNotFoundError, match=r"no file matches .*\*\.parquet"):
        load_data(DataConfig(str(tmp_path / "*.parquet")))
    with pytest.raises(FileNotFoundError, match=r"svhn is not under .*download=True"):
        load_data(DataConfig("svhn", data_root=str(tmp_path)))


def test_folder_errors(make_folder):
    root = make_folder()
    (root / "test" / "dog").rename(root / "test" / "cow")
    with pytest.raises(ValueError, match=r"test/ has class 'cow' and test/ lacks class 'dog', unlike train/"):
        load_data(DataConfig(str(root)))
    (root / "test" / "cow").rename(root / "test" / "dog")
    (root / "test" / "cow").mkdir()
    with pytest.raises(ValueError, match=r"test/cow has no images; needed: one or more"):
        load_data(DataConfig(str(root)))
    (root / "test" / "cow").rmdir()
    (root / "train" / "cow").mkdir()
    with pytest.raises(ValueError, match=r"train/cow has no images; needed: one or more"):
        load_data(DataConfig(str(root)))
    shutil.rmtree(root / "train")
    with pytest.raises(ValueError, match=r"images for the test only; needed: .*called train, or train_split"):
        load_data(DataConfig(str(root)))


def test_empty_split(make_folder):
    root = make_folder(("train",))
    (root / "test").mkdir()
    with pytest.raises(ValueError, match=r"test has no class folders"):
        load_data(DataConfig(str(root)))


def test_a_class_too_small_to_split(make_folder):
    with pytest.raises(
        ValueError, match=r"too few images of 'cat' \(1\), 'dog' \(1\) to cut out a test and a"
    ):
        load_data(DataConfig(str(make_folder(("",), each=1))))


@pytest.mark.parametrize("memory", [2.0, 0.0])
@pytest.mark.parametrize("keep", [0, 20, 150])
def test_damaged_image_is_named(make_folder, memory, keep):
    root = make_folder(("train", "val", "test"), each=3)
    path = root / "train" / "dog" / "01.png"
    path.write_bytes(path.read_bytes()[:keep])
    config = DataConfig(str(root), memory=memory, workers=0, image_size=8)
    with pytest.raises(ValueError, match=r"cannot read the image .*train/dog/01.png"):
        load_data(config)


def test_parquet_errors(make_parquet):
    path = make_parquet(labels=(0, 1, 5))
    with pytest.raises(
        ValueError, match=r"train-.*parquet, row 2: label 5 is outside the classes; needed: 0 to 1"
    ):
        load_data(DataConfig(str(path)))
    make_parquet(labels=(0, -1), classes=None)
    with pytest.raises(ValueError, match=r"row 1: label -1 is outside the classes; needed: 0 or more"):
        load_data(DataConfig(str(path)))
    make_parquet(labels=(0, None))
    with pytest.raises(ValueError, match=r"1 rows have no label"):
        load_data(DataConfig(str(path)))
    make_parquet(labels=("cat", "mouse"))
    with pytest.raises(ValueError, match=r"too few images of 'cat' \(1\), 'mouse' \(1\) to cut out"):
        load_data(DataConfig(str(path)))
    make_parquet(labels=())
    with pytest.raises(ValueError, match=r"no rows; needed"):
        load_data(DataConfig(str(path)))


@pytest.mark.parametrize("keep", [0, 3, 0.5, 0.99])
def test_truncated_parquet_is_named(make_parquet, keep):
    path = make_parquet()
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(
        ValueError, match=r"train-.*parquet cannot be read as Parquet; it is truncated or damaged"
    ):
        load_data(DataConfig(str(path)))


def test_damaged_row_group_is_named(make_parquet):
    path = make_parquet()
    content = bytearray(path.read_bytes())
    content[4:24] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read the image .*parquet, row 0: .* truncated or damaged"):
        load_data(DataConfig(str(path)))


def test_parquet_without_image_bytes(tmp_path):
    path = tmp_path / "train.parquet"
    images = [{"bytes": None, "path": "cat.png"}] * 4
    pq.write_table(pa.table({"img": images, "label": [0, 0, 1, 1]}), path)
    with pytest.raises(
        ValueError, match=r"train.parquet: column 'img' has type struct.*needed: struct<bytes: binary"
    ):
        load_data(DataConfig(str(path)))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"img": pa.array(images, kind), "label": [0, 0, 1, 1]}), path)
    pq.write_table(pa.table({"img": pa.array(images[:2], kind), "label": [0, 1]}), tmp_path / "test.parquet")
    pq.write_table(pa.table({"img": pa.array(images[:2], kind), "label": [0, 1]}), tmp_path / "val.parquet")
    path = tmp_path
    with pytest.raises(ValueError, match=r"row 0: the row has no image bytes; needed: images embedded"):
        load_data(DataConfig(str(path)))


def test_parquet_of_several_sets(make_parquet):
    root = make_parquet("small/train.parquet").parents[1]
    make_parquet("large/train.parquet")
    with pytest.raises(ValueError, match=r"has Parquet files in large, small; needed: name one"):
        load_data(DataConfig(str(root)))


def test_parquet_splits_must_agree(make_parquet):
    make_parquet()
    test = make_parquet("test.parquet", classes=("dog", "cat"))
    with pytest.raises(ValueError, match=r"needed: the same classes in both splits"):
        load_data(DataConfig(str(test.parent)))
    with pytest.raises(ValueError, match=r"images for the test only; needed: a split called train"):
        load_data(DataConfig(str(test)))
