"""The folder of a run, and what the run belongs to: its options, its data and the version of this package."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lightning_fabric.utilities.rank_zero import rank_zero_only

from .. import __version__
from .._files import remove_leftovers, write_text
from ..data import ImageData
from .config import differences

LAST, BEST, CONFIG, DATA, TESTED = "last.ckpt", "best.ckpt", "config.yaml", "data.json", "test.json"
# The configuration last: until it is gone, a folder that is half cleared is taken for a run.
LEFT_BEHIND = (LAST, BEST, "history.csv", TESTED, "tensorboard", DATA, CONFIG)


def is_worker() -> bool:
    """Whether this is one of several processes, and not the first."""
    return getattr(rank_zero_only, "rank", 0) != 0


def origin(data: ImageData) -> dict[str, Any]:
    """What a result belongs to beside its options, as plain values: data and version."""
    return {"version": __version__, "digest": data.digest, "found": data.found.to_dict()}


@contextmanager
def claimed(
    folder: Path,
    config: Any,
    data: ImageData,
    *,
    resume: bool,
    restart: bool = False,
    may_grow: Sequence[str] = (),
    left_behind: Sequence[str] = LEFT_BEHIND,
) -> Iterator[None]:
    """Make the folder of a run, or check that the run there is the same; only the first process does so.

    If what is inside fails before anything was saved, the folder is free again.

    Args:
        folder: of the run.
        config: its options.
        data: its images.
        resume: whether there may be a run already.
        restart: remove a run that is there.
        may_grow: options that may differ from the saved ones.
        left_behind: names of what a run leaves in its folder, the configuration last.

    Raises:
        FileExistsError: it holds a run already, and neither `resume` nor `restart` is on.
        ValueError: the run that it holds had other options, other data or another version.
    """
    if not is_worker():
        remove_leftovers(folder)
        if restart:
            clear(folder, left_behind)
        if (folder / CONFIG).exists():
            _check(folder, config, data, resume, tuple(may_grow))
        write_text(folder / DATA, json.dumps(origin(data), indent=1, ensure_ascii=False))
        write_text(folder / CONFIG, yaml.safe_dump(dataclasses.asdict(config), sort_keys=False))
    try:
        yield
    except Exception:
        if not is_worker() and not list(folder.rglob(LAST)):
            (folder / CONFIG).unlink(missing_ok=True)
        raise


def clear(folder: Path, names: Sequence[str]) -> None:
    """Remove what a run left behind; nothing else that the folder holds."""
    for name in names:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _check(folder: Path, config: Any, data: ImageData, resume: bool, may_grow: tuple[str, ...]) -> None:
    elsewhere = "--restart trains anew in its place, --out names another folder"
    if not resume:
        raise FileExistsError(f"{folder} holds a run already: --resume goes on with it, {elsewhere}")
    saved = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    changed = differences(config, saved, may_grow)
    if changed:
        raise ValueError(
            f"{folder} holds a run with another configuration: {'; '.join(changed)}. Needed: the same;"
            f" {elsewhere}"
        )
    if not (folder / DATA).is_file():
        raise ValueError(f"{folder} holds a run that did not note its data: {elsewhere}")
    changed = origin_differences(origin(data), json.loads((folder / DATA).read_text(encoding="utf-8")))
    if changed:
        raise ValueError(
            f"{folder} holds a run that belongs to something else: {'; '.join(changed)}. Needed: the same;"
            f" {elsewhere}"
        )


def origin_differences(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """In what two origins differ, in words; nothing if results may stand side by side."""
    found = []
    if now["version"] != then["version"]:
        found.append(f"version: {now['version']} now, {then['version']} then")
    if now["digest"] != then["digest"]:
        found += _data_differences(now["found"], then["found"]) or [
            f"data: as many images of the same classes, but other files or labels (digest"
            f" {now['digest'][:12]} now, {then['digest'][:12]} then)"
        ]
    return found


def _data_differences(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """What the tables of two data sets have different: numbers of images, and classes."""
    counts = [{split["name"]: split["images"] for split in one["splits"]} for one in (now, then)]
    found = [
        f"{name}: {counts[0].get(name, 0):,} images now, {counts[1].get(name, 0):,} then"
        for name in dict.fromkeys([*counts[0], *counts[1]])
        if counts[0].get(name) != counts[1].get(name)
    ]
    classes = [list(one["classes"]) for one in (now, then)]
    if classes[0] != classes[1]:
        found.append(f"classes: {_names(classes[0])} now, {_names(classes[1])} then")
    return [f"data: {text}" for text in found]


def _names(classes: list[str]) -> str:
    return ", ".join(classes) if len(classes) <= 6 else f"{len(classes)} ({', '.join(classes[:5])}, …)"
