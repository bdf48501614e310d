"""The folder of an evaluation: what it belongs to, and who works in it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import __version__, _claims
from .._files import remove_leftovers, write_text
from ..data import ImageData
from .targets import Target

BELONGS = "evaluation.json"
PARTS = "parts"
_ELSEWHERE = "--restart measures anew in its place, --out names another folder"


def belongs_to(
    command: str, options: dict[str, Any], targets: Sequence[Target], data: ImageData, images: Tensor
) -> dict[str, Any]:
    """What the results of an evaluation belong to, as plain values.

    Args:
        command: that does it.
        options: of which each changes the results.
        targets: the networks.
        data: the images.
        images: (n, C, H, W), those of them that are measured.
    """
    return {
        "command": command,
        "version": __version__,
        "options": options,
        "networks": [[target.label, target.digest] for target in targets],
        "data": {
            "name": data.name,
            "digest": data.digest,
            "image_size": list(data.image_size),
            "images": len(images),
            "pixels": digest_of(images),
        },
    }


def digest_of(images: Tensor) -> str:
    """A hash of pixels."""
    return hashlib.sha256(images.cpu().contiguous().numpy().tobytes()).hexdigest()


@contextmanager
def claimed(
    folder: Path,
    own: dict[str, Any],
    *,
    left_behind: Sequence[str],
    restart: bool = False,
    shared: bool = False,
) -> Iterator[None]:
    """Have the folder, empty or with what an interrupted evaluation of the same left.

    Args:
        folder: is made if it is not there.
        own: what its results belong to.
        left_behind: patterns of what an evaluation leaves.
        restart: remove what is there.
        shared: whether several may work in it at the same time, each on what it claims within.

    Raises:
        ValueError: somebody is at work in it, or it holds the results of something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder, waiting=shared) as claim:
        remove_leftovers(folder)
        if restart and (folder / BELONGS).is_file():
            _clear(folder, left_behind)
        _check(folder, own)
        write_text(folder / BELONGS, json.dumps(own, indent=1, ensure_ascii=False))
        if shared:
            claim.release()
        yield


@contextmanager
def _held(folder: Path, *, waiting: bool) -> Iterator[_claims.Claim]:
    if waiting:
        with _claims.hold(folder) as claim:
            yield claim
        return
    if (taken := _claims.take(folder)) is None:
        raise ValueError(
            f"{_claims.holder_of(folder)} is at work in {folder}; needed: that it ends; {_ELSEWHERE}"
        )
    with taken.start():
        yield taken


def _clear(folder: Path, left_behind: Sequence[str]) -> None:
    for place in sorted({path.parent for path in folder.glob("*/**/claim.*")}):
        if holder := _claims.holder_of(place):
            raise ValueError(f"{holder} is at work in {folder}; needed: that it ends before a restart")
    for path in [p for pattern in (*left_behind, PARTS, BELONGS) for p in folder.glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check(folder: Path, own: dict[str, Any]) -> None:
    path = folder / BELONGS
    if not path.is_file():
        if (folder / "config.yaml").is_file():
            raise ValueError(f"{folder} holds a run or a comparison; needed: --out, another folder")
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {_ELSEWHERE}") from error
    if changed := _differences(own, there):
        raise ValueError(
            f"{folder} holds the results of something else: {'; '.join(changed)}; needed: the same;"
            f" {_ELSEWHERE}"
        )


def _differences(now: dict[str, Any], then: dict[str, Any], name: str = "") -> list[str]:
    found = []
    for key in dict.fromkeys([*now, *then]):
        one, other, path = now.get(key), then.get(key), f"{name}.{key}".lstrip(".")
        if path == "networks" and isinstance(one, list) and isinstance(other, list):
            others = _other_networks(dict(one), dict(other))
            found += [f"{path}: {'; '.join(others)}"] if others else []
        elif isinstance(one, dict) and isinstance(other, dict):
            found += _differences(one, other, path)
        elif one != json.loads(json.dumps(other)) and json.loads(json.dumps(one)) != other:
            found.append(f"{path} {one!r} now, {other!r} then")
    return found


def _other_networks(now: dict[str, str], then: dict[str, str]) -> list[str]:
    """What became of the networks since, by their labels and digests."""
    said = [f"{label} has other weights now" for label in now if then.get(label, now[label]) != now[label]]
    said += [f"{label} is new" for label in now if label not in then]
    said += [f"{label} is not among them now" for label in then if label not in now]
    order = [] if said or list(now) == list(then) else ["the networks are in another order now"]
    return said + order
