"""What tells one data set from another, and what does not."""

from __future__ import annotations

import shutil

import pytest
from layout_cases import collection

from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.data.sets import three_sets


def digest(root, **options):
    return load_data(DataConfig(str(root), workers=0, **options)).digest


def test_a_digest_is_that_of_the_data_and_not_of_the_place_or_the_options(make_folder, tmp_path):
    root = make_folder()
    first = digest(root)
    assert len(first) == 32
    assert first == digest(root) == digest(root, memory=0, image_size=16) == digest(root, train_size=5)
    shutil.copytree(root, tmp_path / "elsewhere" / "Pets")
    assert digest(tmp_path / "elsewhere" / "Pets") == digest(tmp_path / "elsewhere") == first
    (root / "notes.txt").touch()
    (root / ".hidden").mkdir()
    (root / "train").rename(root / "Training")
    assert digest(root) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda root: shutil.copy(root / "train/cat/00.png", root / "train/cat/99.png"),
        lambda root: (root / "train/cat/00.png").unlink(),
        lambda root: (root / "test/cat/00.png").unlink(),
        lambda root: (root / "train/cat/00.png").rename(root / "train/cat/x.png"),
        lambda root: (root / "train/cat/00.png").rename(root / "train/dog/x.png"),
        lambda root: (root / "train/cat/00.png").rename(root / "test/cat/x.png"),
        lambda root: (root / "train/cat/00.png").write_bytes((root / "train/cat/00.png").read_bytes() + b"0"),
        lambda root: [(root / s / "cat").rename(root / s / "cow") for s in ("train", "test")],
        lambda root: [shutil.copytree(root / s / "cat", root / s / "fox") for s in ("train", "test")],
        lambda root: [
            (root / a).rename(root / b) for a, b in (("train", "x"), ("test", "train"), ("x", "test"))
        ],
    ],
)
def test_a_digest_changes_with_the_data(make_folder, change):
    root = make_folder()
    (root / "test/dog/00.png").unlink()  # so that exchanging the splits changes something
    first = digest(root)
    change(root)
    assert digest(root) != first


def test_a_digest_of_parquet_and_arrays(make_parquet, tmp_path):
    path = make_parquet()
    first = digest(path)
    shutil.copytree(path.parent, tmp_path / "other")
    assert digest(tmp_path / "other" / path.name) == first
    make_parquet(labels=(1, 0) * 10)
    assert digest(path) != first
    make_parquet(classes=("cat", "fox"))
    assert digest(path) != first
    changed = collection("train")
    changed.parts[0].reader.pixels[0] = 1
    assert three_sets(changed, DataConfig()).digest != three_sets(collection("train"), DataConfig()).digest
