"""Files that hold many images (Parquet, ...): which of them are of which split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .found import LeftOut
from .roles import role_of


@dataclass(frozen=True)
class Shards:
    """Files by split.

    Attributes:
        splits: The files of each split, by its name; the only one of unnamed files is ``all``.
        left_out: Files that are not used.
        notes: What the user should know.
    """

    splits: dict[str, list[Path]]
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def by_split(files: Sequence[Path], base: Path) -> Shards:
    """Group files by the split that their name (``train-00000-of-00002``) or folder (``train/0000``) says.

    Args:
        files: The files.
        base: The folder that they are in, at any depth.

    Raises:
        ValueError: files of several data sets.
    """
    splits: dict[str, list[Path]] = {}
    sets: set[str] = set()
    for path in sorted(files):
        folders = list(path.relative_to(base).parts[:-1])
        name = path.stem if role_of(path.stem) else next((f for f in reversed(folders) if role_of(f)), None)
        sets.add("/".join(folder for folder in folders if folder != name and folder != "data"))
        splits.setdefault(_short(name) if name else "all", []).append(path)
    if len(sets) > 1:
        names = ", ".join(name or "." for name in sorted(sets))
        raise ValueError(
            f"{base} has {files[0].suffix[1:].capitalize()} files in {names}; needed: name one of these"
            f" folders, such as {base / sorted(sets)[-1]}"
        )
    left_out = []
    if len(splits) > 1 and "all" in splits:
        unnamed = splits.pop("all")
        left_out = [LeftOut("files whose names say no split", len(unnamed), unnamed[0].name)]
    return Shards(splits, left_out)


def _short(name: str) -> str:
    """The name of a split without the number of the file, and the hash that the Hub once added.

    Example:
        >>> [_short(name) for name in ("train-00000-of-00002", "train-00000-of-00001-1a2b3c4d5e6f7a8b")]
        ['train', 'train']
        >>> [_short(name) for name in ("train_0", "train.part-07", "train2017", "part-0-train")]
        ['train', 'train', 'train2017', 'part-0-train']
    """
    number = r"([-_.](part|shard|chunk))?[-_.]\d+([-_]of[-_]\d+([-_][0-9a-f]{8,})?)?"
    return re.sub(rf"({number})+$", "", name, flags=re.IGNORECASE) or name
