"""What only YOLO's files have: names by number, outlines, key points, splits without labels."""

import pytest
import torch
from box_files import NAMES, load, write_yolo


def test_yolo_names_are_at_their_numbers(tmp_path):
    write_yolo(tmp_path)
    names = [*NAMES, *(f"kind {number}" for number in range(2, 11))]
    quoted = ", ".join(f"'{number}': {name}" for number, name in reversed(list(enumerate(names))))
    (tmp_path / "data.yaml").write_text(f"names: {{{quoted}}}")
    assert load(tmp_path).classes == tuple(names)


def test_yolo_names_and_folders_of_any_yaml(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "hyp.yaml").write_text("lr0: 0.01")
    for split, other in (("train", "first"), ("val", "second"), ("test", "third")):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).rename(tmp_path / kind / other)
    told = tmp_path / "cells.yaml"
    told.write_text(
        "path: ../datasets/cells\ntrain: images/first\nval: ../images/second\ntest: [images/third]\n"
        "names: [cat, dog]"
    )
    data = load(tmp_path)
    assert data.classes == NAMES
    sources = [split.source for split in data.found.splits]
    assert sources == ["images/first/", "images/second/", "images/third/"]
    told.write_text("train: images/first\nval: images/first\ntest: lists/test.txt\nnames: [cat, dog]")
    notes = load(tmp_path, val_size=1, test_size=1).found.notes
    assert "cells.yaml has images/first for val again: it is no split of its own" in notes
    assert "cells.yaml has lists/test.txt for test, which is no folder of images with labels here" in notes
    (tmp_path / "more.yml").write_text("names: [a, b]")
    with pytest.raises(ValueError, match=r"cells.yaml and more.yml with names of classes; needed: one"):
        load(tmp_path)


def test_yolo_splits_keep_the_names_of_their_folders(tmp_path):
    """Which options name: `valid`, though the file says `val`."""
    write_yolo(tmp_path)
    for split, other in (("train", "train"), ("val", "valid"), ("test", "test")):
        (tmp_path / other).mkdir()
        for kind in ("images", "labels"):
            (tmp_path / kind / split).rename(tmp_path / other / kind)
    lines = "train: ../train/images\nval: ../valid/images\nnames: [cat, dog]"
    (tmp_path / "data.yaml").write_text(lines)
    found = load(tmp_path, val_split="valid").found
    assert [split.source for split in found.splits] == ["train/images/", "valid/images/", "test/images/"]
    assert not any("data.yaml has" in note for note in found.notes)


def test_yolo_outlines_and_key_points(tmp_path):
    write_yolo(tmp_path)
    path = tmp_path / "labels/test/0.txt"
    path.write_text("0 0.1 0.2 0.5 0.3 0.4 0.8")
    expected = torch.tensor([4.0, 4, 20, 16, 0, 0, 0])
    torch.testing.assert_close(load(tmp_path).test_subset(4)[1][0, 0], expected, atol=1e-4, rtol=0)
    # Two key points, of which one is seen (2) and one is not labelled (0).
    path.write_text("0 0.3 0.5 0.4 0.6 0.9 0.9 2 0 0 0")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\nkpt_shape: [2, 3]")
    torch.testing.assert_close(load(tmp_path).test_subset(4)[1][0, 0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("inside", [True, False])
def test_yolo_splits_without_labels(inside, tmp_path):
    write_yolo(tmp_path)
    if not inside:
        for split in ("train", "val", "test"):
            (tmp_path / split).mkdir()
            for kind in ("images", "labels"):
                (tmp_path / kind / split).rename(tmp_path / split / kind)
    images, labels = ("images/val", "labels/val") if inside else ("val/images", "val/labels")
    for path in (tmp_path / labels).iterdir():
        path.unlink()
    data = load(tmp_path)
    assert (data.train_size, data.val_size, data.test_size) == (4, 4, 4)
    assert "4 images without objects are kept: there is nothing to find in them" in data.found.notes
    (tmp_path / labels).rmdir()
    told = f"{images}/ is left out: there is no {labels}/ (an empty one says that no image has objects)"
    found = load(tmp_path, val_size=1)
    assert (found.train_size, found.val_size, found.test_size) == (3, 1, 4)
    assert told in found.found.notes
    assert not any("is left out: there" in note for note in data.found.notes)
