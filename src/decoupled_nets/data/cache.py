"""A temporary folder for what has to be unpacked before it can be read."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
from pathlib import Path

from rich.console import Console

from .scan import image_extensions

ARCHIVES = frozenset(ending for _, endings, _ in shutil.get_unpack_formats() for ending in endings)


def cache_folder() -> Path:
    """A folder of this user's in the system's temporary folder; others can neither read nor write it.

    Raises:
        ValueError: somebody else made it.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir()) / f"decoupled-nets-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if hasattr(os, "getuid") and (state.st_uid != os.getuid() or not stat.S_ISDIR(state.st_mode)):
        raise ValueError(f"{folder} belongs to another user; needed: another temporary folder (TMPDIR)")
    return folder


def archive_ending(path: Path) -> str | None:
    """The ending that says a file is an archive, such as ``.tar.gz``; None: it is none."""
    return max((end for end in ARCHIVES if path.name.lower().endswith(end)), key=len, default=None)


def unpacked(path: Path) -> Path:
    """Unpack an archive, once: the same file, unchanged, leads to the same folder.

    Members that would land outside are refused or left out. What is unpacked half, or was cleared away in
    part since, is never used.

    Raises:
        ValueError: it cannot be unpacked; names the file.
    """
    state = path.stat()
    # The time of the last change (ctime) cannot be set: other content behind the same path shows there.
    what = (
        str(path.resolve()),
        state.st_dev,
        state.st_ino,
        state.st_size,
        state.st_mtime_ns,
        state.st_ctime_ns,
    )
    key = hashlib.blake2b(repr(what).encode(), digest_size=8).hexdigest()
    folder = cache_folder() / f"{path.name}-{key}"
    note = folder.with_name(f"{folder.name}.files")  # how many files it has
    if folder.is_dir():
        if _number_of_files(folder) == _noted_number(note):
            return folder
        shutil.rmtree(folder)  # systems clear temporary folders file by file
    console = Console(stderr=True)
    console.quiet = not console.is_terminal
    half = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        with console.status(f"Unpacking {path} to {folder}"):
            _unpack(path, half)
        note.write_text(str(_number_of_files(half)))
        try:
            half.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise
    except Exception as error:  # whatever the formats' own libraries raise
        raise ValueError(
            f"{path} cannot be unpacked; it is truncated or damaged, or encrypted:"
            f" {error or type(error).__name__}"
        ) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder


def _unpack(path: Path, folder: Path) -> None:
    if path.suffix.lower() == ".zip":
        shutil.unpack_archive(path, folder)
        return
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
        # tarfile takes a damaged header for the end of the archive: what follows would be missing unseen.
        assert tar.fileobj is not None
        tar.fileobj.seek(tar.offset)
        end = tar.fileobj.read(tarfile.BLOCKSIZE)
    if len(end) < tarfile.BLOCKSIZE or any(end):
        raise ValueError("it has no end mark after its last readable file")


def _number_of_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _noted_number(note: Path) -> int | None:
    try:
        return int(note.read_text())
    except (OSError, ValueError):
        return None


def is_webdataset(path: Path) -> bool:
    """Whether a tar file holds samples, ``0001.jpg`` beside ``0001.cls``, rather than a tree of folders."""
    images, labels = set(), set()
    try:
        with tarfile.open(path) as tar:
            for _, member in zip(range(50), tar, strict=False):
                stem, _, ending = member.name.rpartition(".")
                if f".{ending.lower()}" in image_extensions():
                    images.add(stem)
                elif ending.lower() == "cls":
                    labels.add(stem)
    except Exception:  # damaged: whoever reads it says so
        return False
    return bool(images & labels)
