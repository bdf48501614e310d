"""Tables: labels and splits in files of metadata."""

from __future__ import annotations

import pytest
from layout_cases import in_each, left_out, load, sizes, write_table


def test_metadata_beside_the_images(tree):
    root = tree("train", "test")
    for split in ("train", "test"):
        write_table(root / split / "metadata.csv", {f"{n:02}.png": "猫" if n % 2 else "犬" for n in range(9)})
    data = load(root)
    assert (data.classes, sizes(data)) == (("犬", "猫"), (7, 2, 9))
    assert left_out(data) == {"images not in the table": 2}
    (root / "test/metadata.csv").unlink()
    (root / "test/metadata.jsonl").write_text(
        "".join(f'{{"file_name": "{n:02}.png", "label": "猫"}}\n' for n in range(3))
    )
    data = load(root)
    assert data.test_size == 3
    assert "test/, labels from metadata.jsonl has no images of class '犬'" in data.found.notes


def test_metadata_over_the_splits(tree):
    root = tree("train/a", "test/a")
    names = {f"{split}/a/{n:02}.png": n % 2 for split in ("train", "test") for n in range(10)}
    write_table(root / "metadata.csv", names)
    assert sizes(load(root)) == (8, 2, 10)
    write_table(root / "metadata.csv", {"train/a/99.png": 1, **names})
    with pytest.raises(FileNotFoundError, match=r"1 of 21 images do not exist, such as 'train/a/99.png'"):
        load(root)


def test_metadata_without_labels_leaves_the_folders_their_say(tree):
    root = tree(*in_each("train", "test"))
    write_table(root / "train/metadata.csv", {"cat/00.png": "a cat", "dog/00.png": "a dog"}, "file_name,text")
    data = load(root)
    assert sizes(data) == (18, 2, 20)
    assert "metadata.csv has no column of labels; the folders give the classes" in data.found.notes


def test_a_table_of_files(tree):
    root = tree("photos", each=20)
    rows = {f"photos/{n:02}.png": f"{n % 2 + 5},{'train' if n < 12 else 'test'}" for n in range(20)}
    write_table(root / "list.csv", rows, "path,breed,split")
    data = load(root / "list.csv", label_column="breed")
    assert (data.classes, sizes(data), data.name) == (("5", "6"), (10, 2, 8), "list")
    assert "labels do not count from 0: 5 is class 0, 6 is class 1" in data.found.notes
    assert load(root / "list.csv").classes == ("5", "6")  # the only column that may be labels
    write_table(root / "ids.csv", {f"photos/{n:02}.png": n for n in range(20)}, "path,id")
    with pytest.raises(ValueError, match=r"column 'id' has another value in each row; needed: label_column"):
        load(root / "ids.csv")
    (root / "bad.csv").write_bytes(b"a,b\n1\n")
    with pytest.raises(ValueError, match=r"bad.csv cannot be read as a table"):
        load(root / "bad.csv")


@pytest.mark.parametrize(
    ("column", "names", "expected"),
    [
        ("Split", ("Train", "Test"), (14, 2, 4)),
        ("subset", ("training", "testing"), (14, 2, 4)),
        ("Usage", ("dev", "train"), (2, 2, 16)),
        ("subset", ("mine", "yours"), (14, 2, 4)),
    ],
)
def test_a_column_of_splits(tree, column, names, expected):
    root = tree("photos", each=20)
    rows = {f"photos/{n:02}.png": f"{'cat' if n % 2 else 'dog'},{names[n >= 16]}" for n in range(20)}
    write_table(root / "list.csv", rows, f"file_name,label,{column}")
    data = load(root / "list.csv")
    assert sizes(data) == expected
    by_column = f"list.csv, {names[1]}" in data.found.splits[2].source or names[0] == "dev"
    assert by_column == (names[0] != "mine")


@pytest.mark.parametrize("split", ["", ",train"])
def test_rows_of_a_table_are_named_by_their_place_in_it(tree, split):
    root = tree("photos", each=12)
    rows = {
        f"photos/{n:02}.png": f"{'' if n == 3 else 'cat' if n % 2 else 'dog'}{split}"
        for n in range(11, -1, -1)
    }
    write_table(root / "list.csv", rows, "file_name,label,split" if split else "file_name,label")
    with pytest.raises(ValueError, match=r"1 rows have no label, the first is row 8;"):
        load(root / "list.csv")


def test_a_number_that_is_no_label_is_named_by_its_row_in_a_table(tree):
    root = tree("photos", each=12)
    write_table(root / "list.csv", {f"photos/{n:02}.png": -1 if n == 3 else n % 2 for n in range(11, -1, -1)})
    with pytest.raises(ValueError, match=r"list.csv, row 8: label -1 is outside the classes"):
        load(root / "list.csv")


def test_an_image_that_a_table_lists_again_is_refused(tree):
    root = tree("photos", each=12)
    lines = ["file_name,label", *(f"photos/{n:02}.png,{'cat' if n % 2 else 'dog'}" for n in range(12))]
    (root / "list.csv").write_text("\n".join([*lines, "./photos/04.png,cat"]))
    with pytest.raises(
        ValueError,
        match=r"lists 1 images again, such as 'photos/04.png' in the rows 4 and 12 \(dog and cat\)",
    ):
        load(root / "list.csv")
