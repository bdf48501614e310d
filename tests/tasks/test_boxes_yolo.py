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


def test_yolo_outlines_and_key_points(tmp_path):
    write_yolo(tmp_path)
    path = tmp_path / "labels/test/0.txt"
    path.write_text("0 0.1 0.2 0.5 0.3 0.4 0.8")
    expected = torch.tensor([4.0, 4, 20, 16, 0, 0])
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
