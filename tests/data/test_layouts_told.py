"""What a folder's layout makes useless, or too small, is told."""

from __future__ import annotations

import tarfile

import pytest
from layout_cases import load

from decoupled_nets.data import DataConfig, describe_data


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"image_column": "file"}, "image_column is ignored: folders give the classes, and no table is read"),
        ({"image_column": "a", "label_column": "b"}, "image_column and label_column are ignored: folders"),
    ],
)
def test_columns_of_folders_are_ignored_aloud(make_folder, options, note):
    root = make_folder()
    assert any(line.startswith(note) for line in describe_data(DataConfig(str(root), **options)).notes)
    assert not any("ignored" in line for line in describe_data(DataConfig(str(root))).notes)
    sample = describe_data(DataConfig(label_column="x"))
    assert "label_column is ignored: sample has no columns" in sample.notes


def test_columns_that_a_table_has_are_not_ignored(make_folder):
    root = make_folder()
    for split in ("train", "test"):
        rows = [f"cat/{n:02}.png,x" for n in range(10)] + [f"dog/{n:02}.png,y" for n in range(10)]
        (root / split / "metadata.csv").write_text("\n".join(["file_name,sort", *rows]))
    found = describe_data(DataConfig(str(root), label_column="sort"))
    assert found.classes == ["x", "y"]
    assert not any("ignored" in line for line in found.notes)


def test_stray_stores_are_told(make_folder):
    root = make_folder()
    with tarfile.open(root / "train" / "backup.tar", "w") as tar:
        tar.add(root / "train" / "cat" / "00.png", "cat/00.png")
    (root / "cache-1f.arrow").touch()
    left = {thing.reason: (thing.count, thing.example) for thing in load(root).found.left_out}
    assert left["tar files, not unpacked"] == (1, "train/backup.tar")
    assert left["cache files of the library datasets"] == (1, "cache-1f.arrow")


def test_few_images_for_many_classes_are_warned_of(make_folder):
    root = make_folder(each=10)
    found = describe_data(DataConfig(str(root), val_size=2, train_size=17))
    assert found.too_few is not None
    assert ("Warning", found.too_few) in found.details()
    assert found.too_few.startswith("17 training images received for 2 classes; needed: 10 or more of each")
    many = make_folder(("train", "val", "test"), each=10, root="many")
    assert describe_data(DataConfig(str(many))).too_few is None
    assert "Warning" not in str(describe_data(DataConfig(str(many))))
