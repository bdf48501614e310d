"""Layouts of folders and files as they are met: what is read, what is left out, what is refused."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decoupled_nets.data import DataConfig, describe_data, load_data
from decoupled_nets.data.roles import role_of
from decoupled_nets.data.scan import image_extensions


def picture(seed, size=(8, 8)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.fixture
def tree(tmp_path):
    """Write ``pets/<folder>/<n>.png`` for each folder, other pixels in each."""

    def make(*folders: str, each: int = 10, root: str = "pets") -> Path:
        for k, folder in enumerate(folders):
            place = tmp_path / root / folder
            place.mkdir(parents=True, exist_ok=True)
            for n in range(each):
                picture(1000 * k + n).save(place / f"{n:02}.png")
        return tmp_path / root

    return make


def load(root, **options):
    return load_data(DataConfig(str(root), workers=0, **options))


def sizes(data):
    return data.train_size, data.val_size, data.test_size


def left_out(data):
    return {thing.reason: thing.count for thing in data.found.left_out}


def in_each(*splits):
    return [f"{split}/{name}" for split in splits for name in ("cat", "dog")]


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


@pytest.mark.parametrize("around", ["archive", "archive/pets-master", "train_data/pets", "test"])
def test_folders_around_the_splits(tree, around):
    root = tree(*in_each(f"{around}/train", f"{around}/test"))
    (root / "README.md").write_text("pets")
    assert sizes(load(root)) == (18, 2, 20)
    shutil.rmtree(root)
    assert sizes(load(tree(*in_each("pets")).parent)) == (14, 2, 4)


@pytest.mark.parametrize("inner", ["train/train", "train/images", "train/data/images"])
def test_folders_inside_a_split(tree, inner):
    assert sizes(load(tree(*in_each(inner, "test")))) == (18, 2, 20)


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".Trash-1000/files", "@eaDir", "__MACOSX/cat"])
@pytest.mark.parametrize("place", ["", "train", "train/cat"])
def test_hidden_folders_are_no_data_at_any_depth(tree, hidden, place):
    root = tree(*in_each("train", "test"))
    shutil.copytree(root / "train" / "dog", root / place / hidden)
    data = load(root)
    assert (data.classes, sizes(data)) == (("cat", "dog"), (18, 2, 20))
    assert left_out(data) == {"hidden or system folders": 1}


def test_files_that_are_no_images(tree):
    root = tree(*in_each("train", "test"))
    (root / "train/cat/._00.png").write_bytes(bytes(60))
    (root / "train/cat/Thumbs.db").write_bytes(bytes(60))
    (root / "train/cat/notes.txt").touch()
    (root / "train/dog/notes.txt").touch()
    (root / "LICENSE").touch()
    (root / "test/dog/burst.jpg").mkdir()
    picture(7).save(root / "test/dog/burst.jpg/a.png")
    data = load(root)
    assert sizes(data) == (18, 2, 21)
    assert left_out(data) == {
        "hidden or system files": 2,
        ".txt files, not images by name": 2,
        "other files, not images by name": 1,
    }
    assert "train/cat/notes.txt" in str(data.found)


def test_every_format_that_pillow_reads(tree):
    root = tree(*in_each("train", "test"))
    for ending in ("BMP", "gif", "ppm", "jp2", "tga", "WEBP", "avif", "pcx", "ico", "sgi", "tiff", "qoi"):
        if f".{ending.lower()}" in image_extensions():
            picture(3, (16, 16)).save(root / f"train/cat/x.{ending}")
    count = len(list((root / "train").rglob("*.*")))
    assert count > 30
    assert load(root).train_size + load(root).val_size == count
    assert not {".mpg", ".pdf", ".h5", ".grib", ".wmf"} & image_extensions()


def test_links_to_files_and_folders_are_followed_and_loops_are_not(tree):
    root = tree(*in_each("train", "test"))
    part = tree("part", each=30, root="elsewhere") / "part"
    (root / "train/cat/part").symlink_to(part)
    (root / "train/dog/extra.png").symlink_to(part / "00.png")
    (root / "train/dog/loop").symlink_to(root / "train")
    data = load(root)
    assert data.train_size + data.val_size == 51
    assert left_out(data) == {"links that lead back to a folder they are in": 1}
    alone = tree("test/cow/x", root="linked")
    (alone / "train").symlink_to(root / "train")
    shutil.rmtree(alone / "test")
    (alone / "test").symlink_to(root / "test")
    assert load(alone).test_size == 20
    (root / "train/dog/broken.png").symlink_to(root / "nothing.png")
    with pytest.raises(FileNotFoundError, match=r"dog/broken.png is a link to a file that does not exist"):
        load(root)


def test_a_pipe_called_like_an_image_is_left_out(tree):
    root = tree(*in_each("train", "test"))
    os.mkfifo(root / "train" / "cat" / "pipe.png")  # opening it would wait for ever
    data = load(root)
    assert sizes(data) == (18, 2, 20)
    assert left_out(data) == {"pipes, sockets and devices": 1}


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


def write_table(path: Path, rows: dict[str, object], head: str = "file_name,label"):
    path.write_text("\n".join([head, *(f"{name},{label}" for name, label in rows.items())]) + "\n")


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


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_archives_are_unpacked_once(tree, tmp_path, monkeypatch, kind):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    root = tree(*in_each("train", "test"))
    archive = shutil.make_archive(str(tmp_path / "pack"), kind, root.parent, "pets")
    data = load(archive)
    assert (data.name, sizes(data)) == ("pack", (18, 2, 20))
    assert data.digest == load(root).digest
    place, note = sorted((tmp_path / "temporary").glob("decoupled-nets-*/*"))
    assert note.name == f"{place.name}.files"
    assert f"unpacked to {place}" in data.found.notes
    before = [p.stat().st_mtime_ns for p in (place, note)]
    load(archive)
    assert [p.stat().st_mtime_ns for p in sorted(place.parent.iterdir())] == before
    os.truncate(archive, 500)
    with pytest.raises(ValueError, match=r"pack.* cannot be unpacked; it is truncated or damaged"):
        load(archive)
    assert sorted(place.parent.iterdir()) == [place, note]


def test_a_folder_of_a_known_name_is_told_of(tree, monkeypatch):
    root = tree(*in_each("train", "test"), root="sample")
    monkeypatch.chdir(root.parent)
    data = load("sample")
    assert data.name == "Fashion-MNIST sample"
    assert data.found.notes[0].startswith("./sample is there too: data=./sample reads it")
    assert load("./sample").classes == ("cat", "dog")
    (root.parent / "cifar10").mkdir()
    monkeypatch.delenv("DECOUPLED_DATA", raising=False)
    with pytest.raises(ValueError, match=r"./cifar10 is there too: data=./cifar10 reads it"):
        load("cifar10")


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
