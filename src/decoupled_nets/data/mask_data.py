"""Images whose pixels have classes, behind the same door as images that have labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .cache import archive_ending, unpacked
from .collection import Collection
from .config import DataConfig
from .found import Found, SplitFound
from .image_data import ImageData, image_data, looked_at
from .look import Look
from .mask_folder import LAYOUTS, load_mask_folder
from .mask_transform import Augmentation, MaskTransform
from .mask_values import VOID
from .parquet import load_mask_parquet
from .roles import ROLES, WORDS
from .scan import Scan
from .scenes import scenes
from .sets import Sets, three_sets
from .shards import by_split
from .used import check_used

_PROBE = 1000  # masks whose values stand for those of all
_NAMES = "classes.txt"
Make = Callable[[tuple[int, int], bool], Augmentation]


def load_masks(config: DataConfig, augment: Make) -> ImageData:
    """Find, check and, if it fits, decode images and masks; targets are classes of pixels (B, H, W).

    Args:
        config: The options.
        augment: Gives what training images and their masks go through together, from their size (H, W) and
            whether they may be mirrored.

    Raises:
        FileNotFoundError: data that is not there.
        ValueError: data that is not as it must be; names the file.
    """
    sets, look, transform = _find(config, augment)
    return image_data(sets, transform, config, _found(sets, look, transform, config))


def describe_masks(config: DataConfig, augment: Make) -> Found:
    """What :func:`load_masks` finds, without decoding what need not be decoded."""
    return _found(*_find(config, augment), config)


def _find(config: DataConfig, augment: Make) -> tuple[Sets, Look, MaskTransform]:
    check_used(config, "masks")
    collection = _collection(config)
    sets = three_sets(collection, config)
    classes = _classes(sets, config, collection.pixel_classes)
    sets = replace(sets, classes=classes.names, notes=[*sets.notes, *classes.notes])
    look, size = looked_at(sets, config)
    transform = MaskTransform(
        look.in_chans, size, True, sets.mirror, look.pixel_range, config.pixel_range is None,
        codes=classes.codes, augmentation=augment(size, sets.mirror),
    )  # fmt: skip
    return sets, look, transform


def _collection(config: DataConfig) -> Collection:
    """The data set as found, with the names of its classes if it has them."""
    if config.data == "synthetic":
        return scenes()
    path = Path(config.data).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"{config.data} does not exist; needed: a folder with {LAYOUTS}, or synthetic"
        )
    name = path.resolve().name
    if path.is_file() and archive_ending(path):
        path = unpacked(path)
    base = path.parent if path.is_file() else path
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if files:
        found = load_mask_parquet(by_split(files, base), name, config)
    else:
        found = load_mask_folder(Scan(path.as_posix()), name)
    if not (base / _NAMES).is_file():
        return found
    note = f"names of the classes are those in {_NAMES} (class_names: others)"
    return replace(found, pixel_classes=_names(str(base / _NAMES)), notes=[*found.notes, note])


@dataclass(frozen=True)
class _Classes:
    """The classes of masks: names, the class of each stored value (-1: none), and what is to be said."""

    names: tuple[str, ...]
    codes: dict[int, int]
    notes: list[str]


def _classes(sets: Sets, config: DataConfig, own_names: tuple[str, ...]) -> _Classes:
    """Which classes the masks have, by their names or else by the values in the training masks."""
    counts = _counts(sets)
    void = set() if config.void is None else {config.void}
    if VOID in counts and set(counts) != {0, VOID}:
        void.add(VOID)
    named = own_names if config.class_names is None else _names(config.class_names)
    numbers = list(range(len(named))) if named else sorted(set(counts) - void)
    codes = {**dict.fromkeys(void, -1), **{v: k for k, v in enumerate(numbers) if v not in void}}
    names = named or tuple(map(str, numbers))
    if strange := sorted(set(counts) - codes.keys()):
        raise ValueError(
            f"masks of {sets.name} have the value {strange[0]}, and class_names has {len(names)} names, for 0"
            f" to {len(names) - 1}; needed: a name for each value, or void={strange[0]}: no class"
        )
    if not 2 <= len(names) <= VOID:
        raise ValueError(
            f"masks of {sets.name} have {len(names)} classes ({', '.join(names[:10])}); needed: 2 to {VOID}"
        )
    notes = [_shares(counts, codes, names, void)]
    if not named:
        notes.insert(0, "classes are called by their values in the masks (class_names: other names)")
    return _Classes(names, codes, notes)


def _counts(sets: Sets) -> dict[int, int]:
    """How many pixels of the training masks, or of some of many, have each value."""
    train, counts = sets.splits["train"], dict[int, int]()
    for index in train.spread(_PROBE).tolist():
        values, pixels = np.unique(train.read_mask(index), return_counts=True)
        for value, number in zip(values.tolist(), pixels.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + number
    return counts


def _names(given: str) -> tuple[str, ...]:
    """The names in a file, one a line, or between commas.

    Raises:
        ValueError: one is there twice.
    """
    path = Path(given).expanduser()
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else given.split(",")
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) != len(names):
        raise ValueError(f"class_names = {', '.join(names)} received; needed: each name once")
    return names


def _shares(counts: dict[int, int], codes: dict[int, int], names: tuple[str, ...], void: set[int]) -> str:
    """How much of the training masks each class covers, in words."""
    total = sum(counts.values())
    covered = [sum(counts.get(v, 0) for v, code in codes.items() if code == k) for k in range(len(names))]
    words = [f"{name} {100 * n / total:.1f} %" for name, n in zip(names, covered, strict=True)]
    none = sum(counts.get(v, 0) for v in void)
    more = f", {len(words) - 20} classes more" if len(words) > 20 else ""
    which = f" ({', '.join(map(str, sorted(void)))})" if void else ""
    return (
        f"pixels of the training masks: {', '.join(words[:20])}{more}; void{which} {100 * none / total:.1f} %"
    )


def _found(sets: Sets, look: Look, transform: MaskTransform, config: DataConfig) -> Found:
    splits = [
        SplitFound(WORDS[role], sets.sources[role], len(sets.splits[role]), len(sets.classes), [])
        for role in ROLES
    ]
    return Found(
        sets.name, splits, list(sets.classes), look.sizes, transform.size, look.in_chans, look.bits,
        look.pixel_range or (0, 255), transform.describe(config.augment), sets.left_out,
        [*sets.notes, *look.notes],
    )  # fmt: skip
