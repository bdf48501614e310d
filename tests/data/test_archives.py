"""Archives: what is damaged, encrypted, replaced or cleared away is never read as if it were whole."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from decoupled_nets.data import DataConfig, load_data


@pytest.fixture
def pack(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Write an archive of a tree of two classes."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def make(kind: str, name: str = "pack", classes: tuple[str, str] = ("cat", "dog")) -> Path:
        root = make_folder(root=f"{name}-tree", classes=classes)
        return Path(shutil.make_archive(str(tmp_path / name), kind, root))

    return make


def load(path: Path) -> tuple[str, ...]:
    return load_data(DataConfig(str(path), workers=0)).classes


def _mark_encrypted(content: bytearray) -> None:
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(mark, place + 4)


def _spoil_the_middle(content: bytearray) -> None:
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("zip", _mark_encrypted),
        ("zip", _spoil_the_middle),
        ("gztar", _spoil_the_middle),
        ("bztar", _spoil_the_middle),
        ("xztar", _spoil_the_middle),
    ],
)
def test_damaged_and_encrypted_archives_are_refused_by_name(
    pack: Callable[..., Path], kind: str, spoil: Callable[[bytearray], None]
) -> None:
    archive = pack(kind)
    content = bytearray(archive.read_bytes())
    spoil(content)
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=f"{archive.name} cannot be unpacked"):
        load(archive)


def test_a_damaged_header_is_not_the_end_of_a_tar_file(pack: Callable[..., Path]) -> None:
    archive = pack("tar")
    with tarfile.open(archive) as tar:
        middle = [member for member in tar if member.name.endswith(".png")][20]
    content = bytearray(archive.read_bytes())
    content[middle.offset : middle.offset + 100] = b"?" * 100
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="no end mark"):
        load(archive)


def test_a_tar_file_cut_before_a_header_is_not_whole(pack: Callable[..., Path]) -> None:
    archive = pack("tar")
    with tarfile.open(archive) as tar:
        middle = [member for member in tar if member.name.endswith(".png")][30]
    os.truncate(archive, middle.offset)
    with pytest.raises(ValueError, match="no end mark"):
        load(archive)


def test_another_archive_of_the_same_name_size_and_time_is_another(
    pack: Callable[..., Path], tmp_path: Path
) -> None:
    places = []
    for name, classes in (("one", ("cat", "dog")), ("two", ("ape", "bee"))):
        place = tmp_path / name / "pets.tar"
        place.parent.mkdir()
        pack("tar", f"{name}-pack", classes).rename(place)
        places.append(place)
    most = max(place.stat().st_size for place in places)
    for place in places:
        os.truncate(place, most)
        os.utime(place, (1e9, 1e9))
    assert [load(place) for place in places] == [("cat", "dog"), ("ape", "bee")]
    # In place, too.
    places[0].write_bytes(places[1].read_bytes())
    os.utime(places[0], (1e9, 1e9))
    assert load(places[0]) == ("ape", "bee")


@pytest.mark.parametrize("cleared", ["*/train/cat/03.png", "*.files"])
def test_what_was_cleared_away_in_part_is_unpacked_again(
    pack: Callable[..., Path], tmp_path: Path, cleared: str
) -> None:
    archive = pack("zip")
    config = DataConfig(str(archive), workers=0)
    digest = load_data(config).digest
    (gone,) = tmp_path.glob(f"temporary/decoupled-nets-*/{cleared}")
    gone.unlink()
    assert load_data(config).digest == digest
    assert gone.exists()
