"""Images with objects in them, behind the same door as images that have labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from . import box_coco, box_voc, box_yolo
from .box_store import BoxStore
from .box_transform import BoxAugmentation, BoxTransform
from .boxes import FIELDS, Boxes, BoxSet, BoxSplit, Checked, own_classes, padded, refuse_degenerate, truth_of
from .cache import archive_ending, unpacked
from .collection import Collection, Labels, Part
from .config import DataConfig
from .found import Found, LeftOut, SplitFound
from .image_data import ImageData, image_data
from .look import OWN_SIZE_MOST, Look, look_at
from .roles import ROLES, WORDS
from .scenes import scenes_with_boxes
from .sets import Sets, three_sets
from .split import FileReader
from .unreadable import Unreadable
from .used import check_used

_PROBE = 1000
_FORMATS = (box_coco, box_voc, box_yolo)
Make = Callable[[tuple[int, int], bool], BoxAugmentation]


def load_boxes(config: DataConfig, augment: Make) -> ImageData:
    """Find, check and, if they fit, decode images with boxes; targets are (B, M, 7), as data/boxes.py says.

    Args:
        config: The options.
        augment: Gives what training images and their boxes go through together, from their size (H, W) and
            whether they may be mirrored.

    Raises:
        FileNotFoundError: data that is not there.
        ValueError: data that is not as it must be; names file and object.
    """
    sets, look, transform = _find(config, augment)
    plain = image_data(sets, transform, config, _found(sets, look, transform, config))
    stores: dict[str, Any] = {}
    for role in ROLES:
        split = sets.splits[role]
        assert split.boxes is not None
        sizes = [split.header(k).size for k in range(len(split))]
        own = split.boxes.truth[split.rows]
        truth = torch.stack([transform.boxes(boxes, size) for boxes, size in zip(own, sizes, strict=True)])
        stores[role] = BoxStore(getattr(plain, role), truth, transform)
    return replace(plain, **stores)


def describe_boxes(config: DataConfig, augment: Make) -> Found:
    """What :func:`load_boxes` finds, without decoding what need not be decoded."""
    return _found(*_find(config, augment), config)


def _find(config: DataConfig, augment: Make) -> tuple[Sets, Look, BoxTransform]:
    check_used(config, "boxes")
    collection, classes = _collection(config)
    sets = replace(three_sets(collection, config), classes=classes)
    look = look_at(sets.splits, _PROBE, config.pixel_range)
    size = _size(look, config)
    notes = [*sets.notes, _occurrences(sets)]
    if len(look.sizes) > 1:
        notes.append(f"images are of several sizes: each fits into {size[0]}×{size[1]} (image_size: other)")
    sets = replace(sets, notes=notes)
    transform = BoxTransform(
        look.in_chans, size, True, sets.mirror, look.pixel_range, config.pixel_range is None,
        augmentation=augment(size, sets.mirror),
    )  # fmt: skip
    return sets, look, transform


def _size(look: Look, config: DataConfig) -> tuple[int, int]:
    """(H, W) of what a detector is given: the longer side is `image_size`; a square for unlike images."""
    if len(look.sizes) > 1:
        return (config.image_size or OWN_SIZE_MOST,) * 2
    height, width = look.sizes[0]
    longer = config.image_size or min(max(height, width), OWN_SIZE_MOST)
    scale = longer / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _collection(config: DataConfig) -> tuple[Collection, tuple[str, ...]]:
    """The data set as found, and the names of its classes."""
    if config.data in ("synthetic", "sample"):
        return scenes_with_boxes()
    layouts = "; ".join(one.LAYOUT for one in _FORMATS)
    path = Path(config.data).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"{config.data} does not exist; needed: a folder with boxes ({layouts}), or synthetic"
        )
    name = path.resolve().name
    if path.is_file() and archive_ending(path):
        path = unpacked(path)
    formats = (box_coco,) if path.is_file() else _FORMATS
    found = next((one for reader in formats if (one := reader.find(path)) is not None), None)
    if found is None:
        raise ValueError(f"{path} has no boxes of a known form; needed: {layouts}")
    if not found.names:
        raise ValueError(f"{path} ({found.layout}) has no object in any training image; needed: some")
    return _checked(found, name), found.names


def _checked(found: BoxSet, name: str) -> Collection:
    """Parts with boxes in pixels, cut at the edges of their images."""
    checked, objects = Checked(), []
    readers = [_reader(found.root, split) for split in found.splits]
    for reader, split in zip(readers, found.splits, strict=True):
        objects.append(truth_of(split.images, _sizes(reader), found.names, checked))
    refuse_degenerate(checked)
    parts = [
        Part(split.name, split.source, reader, _no_labels(len(own)), boxes=Boxes(padded(own)))
        for reader, split, own in zip(readers, found.splits, objects, strict=True)
    ]
    most = max(part.boxes.truth.shape[1] for part in parts if part.boxes)
    parts = [replace(part, boxes=part.boxes and Boxes(_widened(part.boxes, most))) for part in parts]
    images = sum(len(own) for own in objects)
    notes = [f"boxes as {found.layout} has them", *found.notes, *checked.notes(images)]
    left_out: list[LeftOut] = [*found.left_out, *checked.left_out()]
    return Collection(name, parts, left_out=left_out, notes=notes)


def _reader(root: str, split: BoxSplit) -> FileReader:
    files = [image.image for image in split.images]
    sizes = [(Path(root) / file).stat().st_size for file in files]
    return FileReader(root, files, torch.tensor(sizes, dtype=torch.int64))


def _sizes(reader: FileReader) -> list[tuple[int, int]]:
    from .split import split_of

    split, unreadable, sizes = split_of(reader, torch.zeros(len(reader.names)).long()), Unreadable(), []
    for index in range(len(split)):
        with unreadable.kept():
            sizes.append(split.header(index).size)
    unreadable.tell()
    return sizes


def _widened(boxes: Boxes, most: int) -> torch.Tensor:
    return padded([*boxes.truth, torch.zeros(most, FIELDS)])[:-1]


def _no_labels(images: int) -> Labels:
    return Labels(torch.zeros(images, dtype=torch.int64), ("images",), declared=True)


def _occurrences(sets: Sets) -> str:
    """How many objects of each class the training images have, in words.

    Raises:
        ValueError: there is nothing to learn from.
    """
    split = sets.splits["train"]
    assert split.boxes is not None
    counts = own_classes(split.boxes.truth[split.rows]).bincount(minlength=len(sets.classes)).tolist()
    if not any(counts):
        raise ValueError(
            f"{sets.name} has no object in the training images that is no crowd; needed: some, as crowds"
            " neither train nor count"
        )
    words = [f"{name} {n:,}" for name, n in zip(sets.classes, counts, strict=True)]
    more = f", {len(words) - 20} classes more" if len(words) > 20 else ""
    return f"objects in the training images: {', '.join(words[:20])}{more}"


def _found(sets: Sets, look: Look, transform: BoxTransform, config: DataConfig) -> Found:
    splits = [
        SplitFound(WORDS[role], sets.sources[role], len(sets.splits[role]), len(sets.classes), [])
        for role in ROLES
    ]
    return Found(
        sets.name, splits, list(sets.classes), look.sizes, transform.size, look.in_chans, look.bits,
        look.pixel_range or (0, 255), transform.describe(config.augment), sets.left_out,
        [*sets.notes, *look.notes],
    )  # fmt: skip
