"""What cannot be read is refused, and named."""

from __future__ import annotations

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decoupled_nets.data import DataConfig, load_data


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


def test_parquet_splits_must_agree(make_parquet):
    make_parquet()
    test = make_parquet("test.parquet", classes=("dog", "cat"))
    with pytest.raises(ValueError, match=r"needed: the same classes in both splits"):
        load_data(DataConfig(str(test.parent)))
    with pytest.raises(ValueError, match=r"images for the test only; needed: a split called train"):
        load_data(DataConfig(str(test)))
