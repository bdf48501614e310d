"""Parquet files as they are met: columns, labels, splits and places."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decoupled_nets.data import DataConfig, load_data


def test_columns_are_known_given_or_asked_for(make_parquet):
    def load(**options):
        return load_data(DataConfig(str(path), **options))

    path = make_parquet(image="photo", label="labels")
    assert load().train_size == 14
    path = make_parquet(labels=("dog", "cat") * 10, image="pixels", label="breed", classes=None)
    assert load().classes == ("cat", "dog")
    assert load(image_column="pixels", label_column="breed").classes == ("cat", "dog")
    with pytest.raises(
        ValueError, match=r"no column 'no' \(label_column\); needed: one of \['pixels', 'breed'\]"
    ):
        load(label_column="no")
    with pytest.raises(ValueError, match=r"column 'breed' has type string; needed: struct"):
        load(image_column="breed")
    path = make_parquet(labels=(3, 9) * 10, classes=None)
    assert load().classes == ("3", "9")
    assert "labels do not count from 0: 3 is class 0, 9 is class 1" in load().found.notes
    path = make_parquet(labels=(-1, 1) * 10, classes=None)
    assert load().classes == ("-1", "1")


def test_categories_and_truth_values_are_labels(make_parquet):
    path = make_parquet(label="label", classes=None)
    table = pq.read_table(path)
    for values, expected in (
        (pa.array(["b", "a"] * 10).dictionary_encode(), ("a", "b")),
        (pa.array([7, 4] * 10).dictionary_encode(), ("4", "7")),
        (pa.array([True, False] * 10), ("false", "true")),
    ):
        pq.write_table(table.set_column(1, "label", values), path)
        assert load_data(DataConfig(str(path))).classes == expected
    for values in (pa.array([0.5, 1.5] * 10), pa.array([[0], [1]] * 10)):
        pq.write_table(table.set_column(1, "label", values), path)
        with pytest.raises(ValueError, match=r"column 'label' has type .*; needed: integers or texts"):
            load_data(DataConfig(str(path)))


@pytest.mark.parametrize("blank", ["", "  "])
def test_an_empty_text_is_no_class(make_parquet, blank):
    path = make_parquet(labels=("cat", "dog") * 9 + ("cat", blank), classes=None)
    with pytest.raises(ValueError, match=r"1 rows have no label, the first is row 19"):
        load_data(DataConfig(str(path)))
    make_parquet("test-0.parquet", labels=(blank,) * 4, classes=None)
    path = make_parquet(labels=("cat", "dog") * 10, classes=None)
    data = load_data(DataConfig(str(path.parent)))
    assert (data.train_size, data.found.left_out[0].reason) == (14, "images without labels")


@pytest.mark.parametrize(
    "names",
    [
        (
            "train-00000-of-00002-1a2b3c4d5e6f7a8b",
            "train-00001-of-00002-b8a7f6e5d4c3b2a1",
            "test-00000-of-00001-0011aabbccdd2233",
        ),
        ("train_0", "train_1", "test_0"),
        ("train.part-00", "train.part-01", "test"),
    ],
)
def test_numbered_files_are_of_one_split(make_parquet, names):
    for name in names:
        path = make_parquet(f"{name}.parquet")
    data = load_data(DataConfig(str(path.parent)))
    assert (data.train_size, data.val_size, data.test_size) == (36, 4, 20)


@pytest.mark.parametrize("column", ["split", "Subset"])
def test_a_parquet_column_of_splits(make_parquet, column):
    path = make_parquet("pets.parquet", labels=(0, 1) * 10)
    table = pq.read_table(path)
    pq.write_table(table.append_column(column, pa.array(["train"] * 12 + ["test"] * 8)), path)
    data = load_data(DataConfig(str(path)))
    assert (data.train_size, data.val_size, data.test_size) == (10, 2, 8)
    assert data.test.labels.tolist() == [0, 1] * 4
    assert data.found.splits[2].source.endswith(f", {column} test")


def test_ambiguous_columns_are_asked_for(tmp_path, make_parquet):
    path = make_parquet(label="breed", classes=None)
    table = pq.read_table(path)
    pq.write_table(table.append_column("mood", table["breed"]), path)
    with pytest.raises(ValueError, match=r"of which breed, mood could hold the labels; needed: label_column"):
        load_data(DataConfig(str(path)))
    assert load_data(DataConfig(str(path), label_column="mood")).train_size == 14


@pytest.mark.parametrize("labels", [(-1,) * 6, (None,) * 6])
def test_a_parquet_test_without_labels_is_left_out(make_parquet, labels):
    make_parquet()
    make_parquet("validation-00000-of-00001.parquet", labels=(0, 1) * 4)
    root = make_parquet("test-00000-of-00001.parquet", labels=labels).parent
    data = load_data(DataConfig(str(root)))
    assert (data.train_size, data.val_size, data.test_size) == (18, 2, 8)
    assert [(x.reason, x.count) for x in data.found.left_out] == [("images without labels", 6)]


def test_parquet_as_the_hub_converts_it(make_parquet, tmp_path):
    make_parquet("default/train/0000.parquet", labels=(0, 1) * 5)
    make_parquet("default/train/0001.parquet", labels=(0, 1) * 5)
    root = make_parquet("default/test/0000.parquet", labels=(0, 1) * 3).parents[2]
    for place in (root, root / "default", root / "default/*/*.parquet"):
        data = load_data(DataConfig(str(place)))
        assert (data.train_size, data.val_size, data.test_size) == (18, 2, 6)
    assert load_data(DataConfig(str(root / "default/train"))).train_size == 14
    make_parquet("large/train/0000.parquet")
    with pytest.raises(
        ValueError, match=r"has Parquet files in default, large; needed: name one of these folders"
    ):
        load_data(DataConfig(str(root)))


def test_training_and_test_are_chosen_among_parquet_splits(make_parquet):
    make_parquet("train-0.parquet")
    make_parquet("hard-0.parquet", labels=(0, 1) * 4)
    root = make_parquet("test-0.parquet", labels=(0, 1) * 3).parent
    assert load_data(DataConfig(str(root))).test_size == 6
