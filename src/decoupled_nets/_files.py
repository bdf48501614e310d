"""Writing files so that a reader, or a crash, never meets half of one."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], object]) -> Path:
    """Call ``write(file)`` on a temporary file beside `path`, flush it to disk and rename it to `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")  # machines may share the folder
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def remove_leftovers(folder: Path, age: float = 60.0) -> None:
    """Remove what a killed process left half written.

    Args:
        folder: where it wrote.
        age: seconds since then, by the disk's clock: who shares the folder may be writing right now.
    """
    for path in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            if clock(folder) - path.stat().st_mtime >= age:
                path.unlink()


def clock(folder: Path) -> float:
    """The time by the file system's clock, which is that of the files in `folder`."""
    with tempfile.TemporaryFile(dir=folder, prefix=".clock.") as file:
        file.write(b".")
        file.flush()
        return os.fstat(file.fileno()).st_mtime


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_atomically(path, lambda file: file.write(text.encode("utf-8")))
