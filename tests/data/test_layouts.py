"""Layouts of folders as they are met: what is read and what is left out."""

from __future__ import annotations

import os
import shutil

import pytest
from layout_cases import in_each, left_out, load, picture, sizes

from decoupled_nets.data.scan import image_extensions


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
