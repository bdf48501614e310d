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
        raise ValueError(f"{folder} is not this user's; needed: another temporary folder (TMPDIR)")
    return folder


def archive_ending(path: Path) -> str | None:
    """The ending that says a file is an archive, such as ``.tar.gz``; None: it is none."""
    return max((end for end in ARCHIVES if path.name.lower().endswith(end)), key=len, default=None)


def unpacked(path: Path) -> Path:
    """Unpack an archive, once: the same name, size and time lead to the same folder.

    Members that would land outside are refused or left out. What is unpacked half is never used.

    Raises:
        ValueError: it cannot be unpacked; names the file.
    """
    state = path.stat()
    key = hashlib.blake2b(
        repr((path.name, state.st_size, state.st_mtime_ns)).encode(), digest_size=8
    ).hexdigest()
    folder = cache_folder() / f"{path.name}-{key}"
    if folder.is_dir():
        return folder
    console = Console(stderr=True)
    console.quiet = not console.is_terminal
    half = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        with console.status(f"Unpacking {path} to {folder}"):
            safe = {} if path.suffix.lower() == ".zip" else {"filter": "data"}
            shutil.unpack_archive(path, half, **safe)  # type: ignore[arg-type]
        try:
            half.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise
    except (shutil.ReadError, tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be unpacked; it is truncated or damaged: {error}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder


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
    except (tarfile.TarError, OSError, EOFError):
        return False
    return bool(images & labels)
