"""Three sets: what is cut out of what, by which seed, and what tells one data set from another."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.cells import cell_len

from decoupled_nets.data import DataConfig, describe_data, load_data
from decoupled_nets.data.collection import Collection, Labels, Part
from decoupled_nets.data.sampling import hold_out
from decoupled_nets.data.sets import three_sets
from decoupled_nets.data.split import ArrayReader


def collection(*names, counts=(50, 30)):
    codes = torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])
    labels = Labels(codes, tuple("ab"[: len(counts)]))
    parts = [
        Part(name, f"{name}/", ArrayReader(torch.zeros(len(codes), 1, 2, 2).byte()), labels) for name in names
    ]
    return Collection("set", parts)


def sizes(sets):
    return {role: split.labels.bincount().tolist() for role, split in sets.splits.items()}


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (["train", "val", "test"], {}, {"train": [50, 30], "val": [50, 30], "test": [50, 30]}),
        (["train", "test"], {}, {"train": [45, 27], "val": [5, 3], "test": [50, 30]}),
        (["train", "val"], {}, {"train": [45, 27], "val": [5, 3], "test": [50, 30]}),
        (["train", "val"], {"val_split": "val"}, {"train": [40, 24], "val": [50, 30], "test": [10, 6]}),
        (["train"], {}, {"train": [36, 22], "val": [4, 2], "test": [10, 6]}),
        (["all"], {}, {"train": [36, 22], "val": [4, 2], "test": [10, 6]}),
        (["train", "test"], {"val_size": 8}, {"train": [45, 27], "val": [5, 3], "test": [50, 30]}),
        (["train", "val", "test"], {"val_size": 8}, {"train": [50, 30], "val": [4, 4], "test": [50, 30]}),
        (
            ["train", "test"],
            {"train_size": 20, "test_size": 4},
            {"train": [10, 10], "val": [5, 3], "test": [2, 2]},
        ),
    ],
)
def test_what_is_missing_is_cut_out_of_the_training_images(names, options, expected):
    sets = three_sets(collection(*names), DataConfig(**options))
    assert sizes(sets) == expected
    if len(names) == 1:
        rows = torch.cat([split.rows for split in sets.splits.values()])
        assert torch.equal(rows.sort().values, torch.arange(80))


def test_the_cut_depends_on_its_seed_alone():
    one, again, other = (
        three_sets(collection("train"), DataConfig(split_seed=seed, train_size=size))
        for seed, size in ((0, None), (0, 10), (1, None))
    )
    for role in ("val", "test"):
        assert torch.equal(one.splits[role].rows, again.splits[role].rows)
        assert not torch.equal(one.splits[role].rows, other.splits[role].rows)
    assert "by split_seed=1" in other.notes[-1]


def test_a_cut_validation_set_has_at_most_ten_thousand_images():
    sets = three_sets(collection("train", "test", counts=(120_000, 30_000)), DataConfig())
    assert sizes(sets)["val"] == [8_000, 2_000]


@pytest.mark.parametrize("size", [3, 7, 20, 57])
def test_a_cut_of_so_many_images_is_spread_over_the_classes(size):
    labels = torch.tensor([0] * 40 + [1] * 2 + [2] * 18)
    stays, cut = hold_out(labels, 0.1, "x", size)
    assert len(cut) == size
    assert labels[cut].bincount(minlength=3).min() >= 1
    assert labels[stays].bincount(minlength=3).min() >= 1
    if size == 20:
        assert labels[cut].bincount().tolist() == pytest.approx([13, 1, 6], abs=1)


@pytest.mark.parametrize(
    ("names", "counts", "options", "message"),
    [
        (
            ["train"],
            (5, 2),
            {},
            r"too few images of 'b' \(2\) to cut out a test and a validation set; needed: 3 or",
        ),
        (
            ["train", "test"],
            (5, 1),
            {},
            r"too few images of 'b' \(1\) to cut out a validation set; needed: 2 or",
        ),
        (
            ["train", "test"],
            (5, 5),
            {"val_size": 9},
            r"val_size = 9 received; needed: 2 to 8, so that of the 10 images",
        ),
        (["train", "test"], (5, 5), {"val_size": 1}, r"val_size = 1 received; needed: 2 to 8"),
        (["train", "val", "test"], (5, 5), {"val_size": 11}, r"val_size = 11 received; needed: at most 10"),
        (["train", "test"], (5,), {}, r"has one class: 'a' \(5 images\)"),
        (["test"], (5, 5), {}, r"has images for the test only; needed: a split called train, or train_split"),
        (["x", "y"], (5, 5), {}, r"has no labelled training split; needed: .*'x' \(x/\), 'y' \(y/\)"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_counts(names, counts, options, message):
    with pytest.raises(ValueError, match=message):
        three_sets(collection(*names, counts=counts), DataConfig(**options))


def test_classes_are_matched_by_name_and_differences_named():
    train, test = collection("train", "test").parts
    codes = test.labels.codes
    turned = replace(test, labels=Labels(1 - codes, ("b", "a")))
    sets = three_sets(Collection("set", [train, turned]), DataConfig())
    assert torch.equal(sets.splits["test"].labels, codes)
    extra = replace(test, labels=Labels(codes + 1, ("a", "b", "c")))
    with pytest.raises(
        ValueError, match=r"set: test/ has class 'c', unlike train/; needed: the same classes"
    ):
        three_sets(Collection("set", [train, extra]), DataConfig())
    absent = replace(test, labels=Labels(codes * 0, ("a",)))
    sets = three_sets(Collection("set", [train, absent]), DataConfig())
    assert "test/ has no images of class 'b'" in sets.notes
    with pytest.raises(ValueError, match=r"test/ lacks class 'b', unlike train/"):
        three_sets(Collection("set", [train, replace(absent, complete=True)]), DataConfig())


def test_splits_that_arrive_as_labels_are_refused():
    parts = [replace(p, labels=Labels(p.labels.codes, ("test", "train"))) for p in collection("all").parts]
    with pytest.raises(
        ValueError, match=r"classes that are called like splits: 'test' \(50 images\), 'train'"
    ):
        three_sets(Collection("set", parts), DataConfig())


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


def test_pixel_range_must_be_one():
    assert DataConfig(pixel_range=[0, 5]).pixel_range == (0.0, 5.0)
    for bad in ((5, 5), (0, np.inf)):
        with pytest.raises(ValueError, match=r"pixel_range = .* received; needed: two finite numbers"):
            DataConfig(pixel_range=bad)
