"""Three sets: what is cut out of what, and by which seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from layout_cases import collection

from decoupled_nets.data import DataConfig
from decoupled_nets.data.collection import Collection, Labels
from decoupled_nets.data.sampling import hold_out
from decoupled_nets.data.sets import three_sets


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


def test_pixel_range_must_be_one():
    assert DataConfig(pixel_range=[0, 5]).pixel_range == (0.0, 5.0)
    for bad in ((5, 5), (0, np.inf)):
        with pytest.raises(ValueError, match=r"pixel_range = .* received; needed: two finite numbers"):
            DataConfig(pixel_range=bad)


def test_where_images_come_from_is_said_with_how_many_of_how_many():
    sets = three_sets(collection("train", "val", "test"), DataConfig(train_size=20, test_size=80))
    assert sets.sources == {"train": "train/: 20 of 80", "val": "val/", "test": "test/"}
    cut = three_sets(collection("train"), DataConfig(val_size=8, train_size=10))
    assert cut.sources == {
        "train": "train/, the rest: 10 of 56",
        "val": "cut out of train/: val_size=8",
        "test": "cut out of train/: a fifth of each class",
    }
