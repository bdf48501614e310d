"""Which folders are classes; what can be read in two ways is refused."""

from __future__ import annotations

import shutil

import pytest
from layout_cases import in_each, left_out, load, sizes


def test_a_class_called_train(tree):
    data = load(tree("train", "car", "plane"))
    assert data.classes == ("car", "plane", "train")
    assert any("train/ lies beside car/, plane/" in note for note in data.found.notes)
    within = tree(*(f"{s}/{c}" for s in ("train", "test") for c in ("train", "car")), root="vehicles")
    assert (load(within).classes, sizes(load(within))) == (("car", "train"), (18, 2, 20))


def test_what_can_be_read_in_two_ways_is_refused_with_the_option(tree):
    root = tree("train/steam", "train/diesel", "car/red", "car/blue")
    with pytest.raises(
        ValueError, match=r"has train/, which reads like a split, beside car/.*train_split=train"
    ):
        load(root)
    data = load(root, train_split="train")
    assert (data.classes, left_out(data)) == (("diesel", "steam"), {"images beside the splits": 20})
    assert load(root, train_split=".").classes == ("car", "train")
    with pytest.raises(ValueError, match=r"has test/, which reads like a split, beside cat/, dog/"):
        load(tree("cat", "dog", "test", root="flat"))


def test_folds_are_not_taken_for_classes(tree):
    root = tree(*in_each("fold1", "fold2", "fold3"))
    with pytest.raises(
        ValueError, match=r"fold1/, fold2/, fold3/, each of which holds cat/, dog/; needed: train"
    ):
        load(root)
    assert sizes(load(root, train_split="fold1", test_split="fold3")) == (18, 2, 20)
    assert load(root, train_split=".").classes == ("fold1", "fold2", "fold3")
    parts = tree("cat/left", "cat/right", "dog/left", "dog/up", root="parts")
    assert load(parts).classes == ("cat", "dog")


def test_folds_that_differ_are_not_taken_for_classes_either(tree):
    root = tree("2019/cat", "2019/dog", "2020/cat", "2020/dog", "2020/fox", "more")
    with pytest.raises(
        ValueError, match=r"has 2019/, 2020/, each of which holds cat/, dog/; needed: train_split=."
    ):
        load(root)
    assert load(root, train_split=".").classes == ("2019", "2020", "more")


def test_folders_in_class_folders_are_told_of(tree):
    data = load(tree("entrenamiento/cat", "entrenamiento/dog", "prueba"))
    assert data.classes == ("entrenamiento", "prueba")
    assert "entrenamiento/ holds cat/, dog/, all of it one class" in data.found.notes
    assert not any("all of it" in note for note in load(tree("ape", "bee", root="plain")).found.notes)


def test_classes_whose_names_contain_those_of_splits(tree):
    root = tree("train_station", "test_tube", "airport")
    with pytest.raises(ValueError, match=r"train_split=\. \(all folders are classes\)"):
        load(root)
    assert load(root, train_split=".").classes == ("airport", "test_tube", "train_station")
    shutil.rmtree(root / "airport")
    with pytest.raises(ValueError, match=r"train_split=\. \(all folders are classes\)"):
        load(root)
    assert load(root, train_split=".").classes == ("test_tube", "train_station")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("cat",), r"one class: 'cat' \(10 images\); needed: two classes or more"),
        (("train/cat", "test/cat"), r"one class: 'cat' \(10 images\)"),
        (("train", "test"), r"train/ with images directly in them: nothing says their classes"),
        (("",), r"has images and no class folders: nothing says their classes"),
        (
            ("cat/train", "cat/test", "dog/train", "dog/test"),
            r"cat holds test/, train/, which read like splits",
        ),
        (
            ("a/train/x", "a/test/x", "b/train/x", "b/test/x"),
            r"a holds test/, train/, which read like splits",
        ),
        (("train/train/cat", "train/test/cat"), r"one class: 'cat'"),
    ],
)
def test_layouts_without_classes_are_refused_with_what_was_seen(tree, folders, message):
    with pytest.raises(ValueError, match=message):
        load(tree(*folders))


def test_a_folder_without_images_says_what_is_there(tmp_path):
    (tmp_path / "x.heic").touch()
    with pytest.raises(ValueError, match=r"no class folders with images; left out: 1 .heic files"):
        load(tmp_path)


def test_integers_are_sorted_as_numbers(tree):
    assert load(tree("0", "10", "9")).classes == ("0", "9", "10")
    assert load(tree("a", "b10", "b9", root="texts")).classes == ("a", "b10", "b9")
