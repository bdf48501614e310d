"""Which folders are the training, the validation and the test set."""

from __future__ import annotations

import pytest
from layout_cases import in_each, left_out, load, picture, sizes

from decoupled_nets.data.roles import role_of


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("seg_train", "seg_test"),
        ("train", "Test"),
        ("train_images", "test_images"),
        ("train2017", "val2017"),
        ("imagesTr", "imagesTs"),
        ("train-set", "dev"),
        ("trainval", "test"),
    ],
)
def test_names_of_splits(tree, train, test):
    data = load(tree(*in_each(train, test)))
    assert (data.classes, sizes(data)) == (("cat", "dog"), (18, 2, 20))
    assert [split.source for split in data.found.splits][2] == f"{test}/"


@pytest.mark.parametrize(
    "name", ["car", "trained", "trainers", "contest", "protest", "valley", "train_test", "0"]
)
def test_names_that_are_no_splits(name):
    assert role_of(name) is None


def test_all_three_splits_are_used_as_they_are(tree):
    data = load(tree(*in_each("train", "valid", "test")))
    assert sizes(data) == (20, 20, 20)
    assert not data.found.notes
    assert [split.source for split in data.found.splits] == ["train/", "valid/", "test/"]


def test_a_test_without_labels_is_left_out(tree):
    root = tree(*in_each("train", "val"))
    for n in range(3):
        (root / "test").mkdir(exist_ok=True)
        picture(n).save(root / f"test/{n}.png")
    data = load(root)
    assert sizes(data) == (18, 2, 20)
    assert [split.source for split in data.found.splits][2] == "val/"
    assert left_out(data) == {"images without labels": 3}
    assert any("val_split=val" in note for note in data.found.notes)
    assert sizes(load(root, val_split="val")) == (16, 20, 4)
    with pytest.raises(ValueError, match=r"test_split = 'test' received, whose images have no labels"):
        load(root, test_split="test")


def test_a_test_without_labels_beside_a_folder_of_classes(tree):
    data = load(tree(*in_each("images"), "test"))
    assert (data.classes, sizes(data)) == (("cat", "dog"), (14, 2, 4))
    assert left_out(data) == {"images without labels": 10}


def test_splits_are_chosen_by_name(tree):
    root = tree(*in_each("train", "holdout", "val", "extra"))
    assert sizes(load(root)) == (18, 2, 20)
    data = load(root, test_split="holdout")
    assert [split.source for split in data.found.splits] == ["train/", "val/", "holdout/"]
    assert left_out(data) == {"images beside the splits": 20}
    assert [s.source for s in load(root, val_split="VALIDATION", test_split="holdout").found.splits][
        1
    ] == "val/"
    with pytest.raises(
        ValueError, match=r"val_split = 'no' received; needed: one of .*'val' \(20 images\), 'extra' \(20"
    ):
        load(root, val_split="no")
    with pytest.raises(ValueError, match=r"test_split = 'val' received, which has another use"):
        load(root, val_split="val", test_split="val")


def test_two_splits_for_one_use_are_refused(tree):
    root = tree(*in_each("train", "train_aug", "test"))
    with pytest.raises(ValueError, match=r"'train' .* and 'train_aug' .* both training splits.*train_split"):
        load(root)
    assert sizes(load(root, train_split="train_aug")) == (18, 2, 20)
