"""What was found prints itself, and is told of."""

from __future__ import annotations

import json
import os

from rich.cells import cell_len

from decoupled_nets.data import DataConfig, describe_data, load_data


def test_what_was_found_prints_itself_within_80_columns(make_folder):
    long = "a class with a very long name indeed, as some data sets have them, " * 2
    root = make_folder(classes=("猫", "犬", long, *(f"c{n}" for n in range(30))), each=2)
    (root / "train" / "猫" / ("x" * 120 + ".txt")).touch()
    data = load_data(DataConfig(str(root)))
    text = str(data.found)
    assert max(map(cell_len, text.splitlines())) <= 80
    for words in (
        "33, 4 images each",
        "猫",
        "… and 13 more",
        "x" * 30,
        "8×8",
        "3 channels of 8 bits",
        "test/",
    ):
        assert words in text
    plain = json.loads(json.dumps(data.found.to_dict()))
    assert [s["images"] for s in plain["splits"]] == [33, 33, 66]
    assert plain["splits"][2]["counts"] == [2] * 33
    assert plain["left_out"][0]["count"] == 1
    assert data.found.table()[1] == ("training", "33", "33", "train/, the rest")


def test_describing_reads_headers_only(make_folder):
    root = make_folder(each=4, splits=("train", "val", "test"))
    for path in root.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    found = describe_data(DataConfig(str(root)))
    assert [split.images for split in found.splits] == [8, 8, 8]
    assert found.sizes == [(8, 8)]


def test_sizes_that_differ_are_a_range(make_folder):
    found = describe_data(DataConfig(str(make_folder(sizes=((8, 10), (30, 20), (9, 9)))), image_size=16))
    assert found.sizes == [(8, 10), (30, 20)]
    assert "8×10 to 30×20, given as 16×16" in str(found)


def test_classes_without_training_images_are_told_of(make_folder):
    data = load_data(DataConfig(str(make_folder()), workers=0, train_size=1))
    assert any(note.startswith("no training images of class ") for note in data.found.notes)


def test_names_that_are_no_unicode_can_be_written(make_folder):
    root = make_folder()
    for split in ("train", "test"):
        (root / split / "cat").rename(root / split / os.fsdecode(b"caf\xe9"))
    (root / "train" / "dog" / os.fsdecode(b"\xe9.txt")).touch()
    data = load_data(DataConfig(str(root), workers=0))
    assert data.classes == ("caf\\xe9", "dog")
    json.dumps(data.found.to_dict(), ensure_ascii=False).encode()
    str(data.found).encode()
