"""The folder of a run, and what the run belongs to: its options, its data and the version of this package."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from lightning_fabric.utilities.rank_zero import rank_zero_only

from .. import __version__, _claims
from .._code import digest_of_file, file_of, names_code
from .._downloads import no_downloads
from .._files import remove_leftovers, write_text
from ..data import ImageData
from ..hub.files import CONFIG as SAVED_CONFIG
from ..hub.files import WEIGHTS as SAVED_WEIGHTS
from ..models import NetworkConfig
from ..networks import folder_here, form_of
from .config import differences

LAST, BEST, CONFIG, DATA = "last.ckpt", "best.ckpt", "config.yaml", "data.json"
TESTED, OUTCOMES, STARTED = "test.json", "outcomes.safetensors", "start.json"
#: What the files of a run look like; a run of another format is not gone on with.
FORMAT = 2
# Patterns. The configuration last: until it is gone, a folder that is half cleared is taken for a run.
LEFT_BEHIND = (LAST, BEST, "history.csv", TESTED, OUTCOMES, STARTED, "tensorboard", DATA, CONFIG)
#: What a run under way needs no more: the part of its origin, and what is said if it is another now.
_MAY_BE_GONE = {
    "weights": "weights: the file is not what it was then",
    "saved_model": "model: the saved network is not what it was then",
}
_ELSEWHERE = "--restart trains anew in its place, --out names another folder"


def is_worker() -> bool:
    """Whether this is one of several processes, and not the first."""
    return getattr(rank_zero_only, "rank", 0) != 0


def origin_of(data: ImageData, network: NetworkConfig) -> dict[str, Any]:
    """The origin of a run with this network."""
    return origin(data, network.plugin, network.model, network.weights)


def origin(
    data: ImageData, plugin: str | None = None, model: str = "", weights: str | None = None
) -> dict[str, Any]:
    """What a result belongs to beside its options, as plain values: data, version, and what files hold.

    Args:
        data: the images.
        plugin: the plugin, whose code is part of it.
        model: the network's name; that of a function in a file has the file's code be part of it, that of a
            saved network its configuration and its weights.
        weights: the file of the weights that it starts from.
    """
    found = {"version": __version__, "format": FORMAT, "digest": data.digest, "found": data.found.to_dict()}
    found.update({"plugin": _digest_of(plugin)} if plugin else {})
    found.update({"code": _digest_of(str(file_of(model)))} if names_code(model) else {})
    found.update({"weights": _digest_of_weights(Path(weights))} if weights else {})
    found.update({"saved_model": _digest_of_saved(model)} if model and form_of(model) == "saved" else {})
    return found


def _digest_of_saved(model: str) -> str | None:
    """A hash of a saved network, of its configuration and its weights; None: it is gone."""
    try:
        with no_downloads():
            place = folder_here(model)
    except (FileNotFoundError, ValueError):
        return None
    files = [place / SAVED_CONFIG, place / SAVED_WEIGHTS]
    if not all(file.is_file() for file in files):
        return None
    return hashlib.sha256("".join(map(_digest_at_rest, files)).encode()).hexdigest()


def _digest_of_weights(path: Path) -> str | None:
    """A hash of the weights in a file or folder; None: they are gone."""
    files = [path] if path.is_file() else [path / name for name in (SAVED_WEIGHTS, BEST, LAST)]
    file = next((file for file in files if file.is_file()), None)
    return None if file is None else _digest_at_rest(file)


def _digest_at_rest(file: Path) -> str:
    """A hash of a file, read again only if it has changed."""
    known = file.stat()
    return _digest_at(file, known.st_size, known.st_mtime_ns)


@lru_cache
def _digest_at(file: Path, size: int, changed: int) -> str:
    """Of a file that has not changed since, the same without reading it again."""
    return digest_of_file(file)


def _digest_of(plugin: str) -> str | None:
    """A hash of the plugin's file, or of all Python files of its package; None: it has none."""
    if plugin.endswith(".py"):
        return digest_of_file(Path(plugin))
    spec = importlib.util.find_spec(plugin)
    if spec is None or not (spec.has_location or spec.submodule_search_locations):
        return None
    roots = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = {file.relative_to(root).as_posix(): file for root in roots for file in root.rglob("*.py")}
    digest = hashlib.sha256()
    for name, file in sorted((files or {"": Path(str(spec.origin))}).items()):
        digest.update(name.encode() + file.read_bytes())
    return digest.hexdigest()


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
    shared: bool = False,
) -> Iterator[None]:
    """Make the folder of a run, or check that the run there is the same; only the first process does so.

    If what is inside fails before anything was saved, the folder is free again. Several that start at the
    same time check one after the other.

    Args:
        folder: of the run.
        config: its options.
        data: its images.
        resume: whether there may be a run already.
        restart: remove a run that is there.
        may_grow: options that may differ from the saved ones.
        left_behind: patterns of what a run leaves in its folder, the configuration last.
        shared: whether several may work in it at the same time, as they do on a comparison.

    Raises:
        FileExistsError: it holds a run already, and neither `resume` nor `restart` is on.
        ValueError: the run that it holds had other options, other data or another version, or is one of
            another command's; or somebody is at it.
    """
    if is_worker():
        yield
        return
    with _held(folder, waiting=shared) as claim:
        remove_leftovers(folder)
        _check_command(folder, config)
        if restart:
            _check_idle(folder, left_behind)
            clear(folder, left_behind)
        now = origin_of(data, config.network)
        if (folder / CONFIG).exists():
            _check(folder, config, now, resume, tuple(may_grow))
            for name in _MAY_BE_GONE:
                if now.get(name, "") is None:  # gone since; what it was stays known
                    now[name] = saved(folder / DATA).get(name)
        elif saved_before := _checkpoints(folder, left_behind):
            raise ValueError(f"{saved_before[0]} is of a run whose {CONFIG} is gone; {_ELSEWHERE}")
        write_text(folder / DATA, json.dumps(now, indent=1, ensure_ascii=False))
        write_text(folder / CONFIG, yaml.safe_dump(config.flat(), sort_keys=False))
        if shared:
            claim.release()
        try:
            yield
        except Exception:
            if not _checkpoints(folder, left_behind) and not _holders(folder, left_behind):
                (folder / CONFIG).unlink(missing_ok=True)
            raise


@contextmanager
def _held(folder: Path, *, waiting: bool) -> Iterator[_claims.Claim]:
    """The claim on a folder: of whoever works there alone, or of whoever looks around in it for a moment.

    Raises:
        ValueError: somebody has it, and we are not `waiting`.
    """
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


def _check_idle(folder: Path, left_behind: Sequence[str]) -> None:
    if holders := _holders(folder, left_behind):
        raise ValueError(f"{holders[0]} is at work in {folder}; needed: that it ends before a restart")


def _holders(folder: Path, left_behind: Sequence[str]) -> list[_claims.Holder]:
    """Who is at work in the folders within."""
    places = {path.parent for pattern in left_behind for path in folder.glob(f"{pattern}/**/claim.*")}
    return [holder for place in sorted(places) if (holder := _claims.holder_of(place))]


def clear(folder: Path, patterns: Sequence[str]) -> None:
    """Remove what a run left behind; nothing else that the folder holds."""
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _checkpoints(folder: Path, left_behind: Sequence[str]) -> list[Path]:
    """Checkpoints that training in this folder would go on from."""
    places = [path for pattern in left_behind for path in sorted(folder.glob(pattern))]
    return [p for path in places for p in (path, path / LAST) if p.name == LAST and p.is_file()]


def saved(path: Path) -> dict[str, Any]:
    """What a file of a run says, YAML or JSON.

    Raises:
        ValueError: it is damaged; names it.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        raw = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
        if not isinstance(raw, dict):
            raise ValueError(f"{type(raw).__name__} found")
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(
            f"{path} is damaged or empty ({' '.join(str(error).split())}); {_ELSEWHERE}"
        ) from error
    return raw


def _check_command(folder: Path, config: Any) -> None:
    """Refuse to go on with, or to clear, a comparison by `train` or a run by `compare`."""
    own, other = ("operators", "operator") if hasattr(config, "operators") else ("operator", "operators")
    try:
        there = saved(folder / CONFIG) if (folder / CONFIG).exists() else {}
    except ValueError:
        return  # damaged: it can be cleared, and whoever goes on with it says so
    if other in there and own not in there:
        what = "a comparison" if other == "operators" else "a single run"
        raise ValueError(f"{folder} holds {what}; needed: --out, another folder")


def _check(folder: Path, config: Any, now: dict[str, Any], resume: bool, may_grow: tuple[str, ...]) -> None:
    if not resume:
        raise FileExistsError(f"{folder} holds a run already; --resume goes on with it, {_ELSEWHERE}")
    changed = differences(config, saved(folder / CONFIG), may_grow)
    if changed:
        raise ValueError(
            f"{folder} holds a run with another configuration: {'; '.join(changed)}; needed: the same;"
            f" {_ELSEWHERE}"
        )
    if not (folder / DATA).is_file():
        raise ValueError(f"{folder} holds a run that did not note its data; {_ELSEWHERE}")
    changed = origin_differences(now, saved(folder / DATA))
    if changed:
        raise ValueError(
            f"{folder} holds a run that belongs to something else: {'; '.join(changed)}; needed: the same;"
            f" {_ELSEWHERE}"
        )


def origin_differences(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """In what two origins differ, in words; nothing if results may stand side by side."""
    found = []
    if now["version"] != then["version"]:
        found.append(f"version: {now['version']} now, {then['version']} then")
    if now.get("format", 1) != then.get("format", 1):
        found.append(f"format of the files: {now.get('format', 1)} now, {then.get('format', 1)} then")
    if now.get("plugin") != then.get("plugin"):
        found.append("plugin: its code is not what it was then")
    if now.get("code") != then.get("code"):
        found.append("model: its code is not what it was then")
    for name, text in _MAY_BE_GONE.items():
        digests = [one.get(name, "") for one in (now, then)]
        if digests[0] != digests[1] and None not in digests:
            found.append(text)
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
