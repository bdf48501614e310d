"""From the splits that were found to the three sets that are needed: training, validation, test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import torch
from torch import Tensor

from .collection import Collection, Labels, Part, in_order
from .config import DataConfig
from .cut import cut_out, limit
from .found import LeftOut, readable
from .roles import ROLES, WORDS, Role, role_of
from .split import Split


@dataclass(frozen=True)
class Sets:
    """The three sets, before decoding.

    Attributes:
        name: Name for tables and titles.
        classes: Names of the classes, by label.
        splits: Images of each role.
        sources: Where they come from, in words.
        mirror: Whether an image and its mirror image are of the same class.
        left_out: What is not used.
        notes: What was decided for the user.
        digest: Tells this data from other data.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[Role, Split]
    sources: dict[Role, str]
    mirror: bool
    left_out: list[LeftOut]
    notes: list[str]
    digest: str


def three_sets(collection: Collection, config: DataConfig) -> Sets:
    """Assign roles to the splits of a data set, cut out what is missing, and limit the sizes.

    Raises:
        ValueError: nothing to train on, two splits for one role, a name that is none of the splits, splits
            with other classes, fewer than two classes, or too few images.
    """
    notes, left_out = list(collection.notes), list(collection.left_out)
    parts = _assigned(collection, config, notes, left_out)
    masked = parts["train"].masks is not None or parts["train"].boxes is not None
    classes = ("images",) if masked else _classes(collection, parts, config, notes)
    splits = {
        role: Split(
            part.reader,
            torch.arange(len(codes)) if part.rows is None else part.rows,
            codes,
            part.masks,
            part.boxes,
        )
        for role, part in parts.items()
        for codes in [_codes(part, classes)]
    }
    digest = _digest(classes, splits)
    sources = {role: part.source for role, part in parts.items()}
    cut_out(splits, sources, classes, config, notes)
    limit(splits, sources, config, cut="val" not in parts)
    if not masked:
        _note_absent(classes, splits["train"], notes)
    return Sets(
        readable(collection.name), tuple(map(readable, classes)), splits,
        {role: readable(source) for role, source in sources.items()}, collection.mirror and config.mirror,
        [replace(thing, example=readable(thing.example)) for thing in left_out], list(map(readable, notes)),
        digest,
    )  # fmt: skip


def _assigned(
    collection: Collection, config: DataConfig, notes: list[str], left_out: list[LeftOut]
) -> dict[Role, Part]:
    parts = _chosen(collection, config)
    free = [part for part in collection.parts if part not in parts.values()]
    labelled = [part for part in collection.parts if part.labels is not None]
    for role in ROLES:
        if role in parts:
            continue
        fitting = [part for part in free if role_of(part.name) == role and part.labels is not None]
        if len(fitting) > 1:
            names = " and ".join(f"{part.name!r} ({part.source})" for part in fitting)
            raise ValueError(
                f"{collection.name}: {names} are both {WORDS[role]} splits by name; needed: {role}_split, the"
                " name of one of them"
            )
        if fitting:
            parts[role] = fitting[0]
            free.remove(fitting[0])
    if (
        "train" not in parts
        and len(labelled) == 1
        and role_of(labelled[0].name) is None
        and labelled[0] in free
    ):
        parts["train"] = labelled[0]
        free.remove(labelled[0])
    if "train" not in parts:
        _nothing_to_train_on(collection, parts)
    if "test" not in parts and "val" in parts and config.val_split is None:
        parts["test"] = parts.pop("val")
        notes.append(
            f"no labelled test split: {parts['test'].source} is the test set, and a validation set is cut out"
            f" of the training images (val_split={parts['test'].name}: the other way round)"
        )
    for part in free:
        why = "without labels" if role_of(part.name) and part.labels is None else "beside the splits"
        left_out.append(LeftOut(f"images {why}", _size(part), part.source))
    return {role: parts[role] for role in ROLES if role in parts}


def _chosen(collection: Collection, config: DataConfig) -> dict[Role, Part]:
    """The splits that options name."""
    chosen: dict[Role, Part] = {}
    for role in ROLES:
        name = getattr(config, f"{role}_split")
        if name is None:
            continue
        if role == "train" and name == "." and len(collection.parts) == 1:
            chosen[role] = collection.parts[0]
            continue
        exact = [part for part in collection.parts if part.name == name]
        near = [part for part in collection.parts if part.name.lower() == name.lower()]
        meant = role_of(name) if name.isalpha() else None  # `val`, where the folder is called Validation
        by_role = [part for part in collection.parts if meant and role_of(part.name) == meant]
        part = next((found[0] for found in (exact, near, by_role) if len(found) == 1), None)
        there = ", ".join(f"{part.name!r} ({_size(part):,} images)" for part in collection.parts)
        if part is None:
            raise ValueError(
                f"{role}_split = {name!r} received; needed: one of the splits there are: {there}"
            )
        if part.labels is None:
            raise ValueError(
                f"{role}_split = {name!r} received, whose images have no labels; needed: one of {there}"
            )
        if part in chosen.values():
            raise ValueError(
                f"{role}_split = {name!r} received, which has another use; needed: a split of its own"
            )
        chosen[role] = part
    return chosen


def _size(part: Part) -> int:
    if part.labels is not None:
        return len(part.labels.codes)
    return 0 if part.rows is None else len(part.rows)


def _nothing_to_train_on(collection: Collection, parts: dict[Role, Part]) -> NoReturn:
    there = ", ".join(
        f"{part.name!r} ({part.source}{'' if part.labels is not None else ', without labels'})"
        for part in collection.parts
    )
    only = f"images for the {WORDS[next(iter(parts))]} only" if parts else "no labelled training split"
    raise ValueError(
        f"{collection.name} has {only}; needed: a split called train, or train_split, the name of one of"
        f" those there are: {there or 'none'}"
    )


def _classes(
    collection: Collection, parts: dict[Role, Part], config: DataConfig, notes: list[str]
) -> tuple[str, ...]:
    """The classes of the training split, which those of the others must agree with."""
    train = parts["train"]
    assert train.labels is not None
    classes = train.labels.names
    roles = {role_of(name) for name in classes} if config.train_split != "." else {None}
    if len(classes) < 2 or (None not in roles and len(roles) > 1):
        counts = torch.bincount(train.labels.codes, minlength=len(classes)).tolist()
        seen = ", ".join(f"{name!r} ({n:,} images)" for name, n in zip(classes, counts, strict=True))
        what = "one class" if len(classes) < 2 else "classes that are called like splits"
        raise ValueError(
            f"{collection.name} ({train.source}) has {what}: {seen or 'none'}; needed: two classes or more,"
            " such as a folder of images for each"
        )
    for role in ("val", "test"):
        if role in parts:
            _check_classes(collection, train, parts[role], notes)
    _note_mapping(train.labels, notes)
    return classes


def _note_absent(classes: tuple[str, ...], train: Split, notes: list[str]) -> None:
    """Tell of classes that a network will never see."""
    counts = torch.bincount(train.labels, minlength=len(classes)).tolist()
    if empty := [name for name, count in zip(classes, counts, strict=True) if not count]:
        notes.append(f"no training images of {_listing(empty)}")


def _check_classes(collection: Collection, train: Part, other: Part, notes: list[str]) -> None:
    assert train.labels is not None
    assert other.labels is not None
    ours, theirs = train.labels, other.labels
    extra = [name for name in theirs.names if name not in ours.names]
    missing = [name for name in ours.names if name not in theirs.names]
    if extra or (missing and other.complete):
        differ = [f"{other.source} has {_listing(extra)}"] if extra else []
        differ += [f"{other.source} lacks {_listing(missing)}"] if missing else []
        raise ValueError(
            f"{collection.name}: {' and '.join(differ)}, unlike {train.source}; needed: the same classes in"
            " both splits"
        )
    if ours.declared and theirs.declared and ours.names[: len(theirs.names)] != theirs.names:
        raise ValueError(
            f"{other.source} has the classes {theirs.names}, while {train.source} has {ours.names};"
            " needed: the same classes in both splits"
        )
    if missing:
        notes.append(f"{other.source} has no images of {_listing(missing)}")


def _listing(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{'class' if len(names) == 1 else 'classes'} {', '.join(map(repr, names[:most]))}{more}"


def _note_mapping(labels: Labels, notes: list[str]) -> None:
    """Tell of integers that are not what the network is given."""
    names = list(labels.names)
    try:
        values = [int(name) for name in names]
    except ValueError:
        return
    if not labels.declared and values != list(range(len(values))) and in_order(names) == names:
        pairs = [f"{name} is class {k}" for k, name in enumerate(names)]
        notes.append(f"labels do not count from 0: {', '.join(pairs[:5])}{', …' if len(pairs) > 5 else ''}")


def _codes(part: Part, classes: tuple[str, ...]) -> Tensor:
    """Labels of a part by the training split's classes."""
    assert part.labels is not None
    if part.labels.names == classes:
        return part.labels.codes
    number = {name: k for k, name in enumerate(classes)}
    return torch.tensor([number[name] for name in part.labels.names])[part.labels.codes]


def _digest(classes: tuple[str, ...], splits: dict[Role, Split]) -> str:
    """Hash names, sizes and labels of the splits as found, before anything is cut out or limited."""
    digest = hashlib.blake2b(digest_size=16)

    def add(fields: Iterable[bytes]) -> None:
        for field in fields:
            digest.update(len(field).to_bytes(8, "little"))
            digest.update(field)

    add(name.encode("utf-8", "surrogateescape") for name in classes)
    for role, split in splits.items():
        add([role.encode()])
        add(split.reader.identity())
        if split.masks is not None:
            add(split.masks.identity())
        if split.boxes is not None:
            add(split.boxes.identity())
        add(numbers.numpy().astype("<i8").tobytes() for numbers in (split.rows, split.labels))
    return digest.hexdigest()
