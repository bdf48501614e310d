"""What a reader of some layout gives: splits by the names they have there, labels as they are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .boxes import Boxes
from .found import LeftOut
from .split import Reader


@dataclass(frozen=True)
class Labels:
    """The labels of a part.

    Attributes:
        codes: (N,), int64: the number of each image's label in `names`.
        names: The labels there are, as texts.
        declared: Whether the data set itself lists its classes, in this order, with or without images.
    """

    codes: Tensor
    names: tuple[str, ...]
    declared: bool = False


@dataclass(frozen=True)
class Part:
    """A split as found.

    Attributes:
        name: As found: the name of a folder, or the start of a file's; `all` where nothing is split.
        source: Where it is, in words.
        reader: Finds its images.
        labels: Labels of all rows of the reader; None: it has none.
        rows: (N,), int64: which rows of the reader the labels are of; None: all.
        complete: Whether it must have each class (folders of classes: an absent one is a slip).
        masks: Finds the mask of each image, by the same rows, where every pixel has a class; the labels are
            all alike then.
        boxes: The objects of each image, by the same rows, likewise.
    """

    name: str
    source: str
    reader: Reader
    labels: Labels | None
    rows: Tensor | None = None
    complete: bool = False
    masks: Reader | None = None
    boxes: Boxes | None = None


@dataclass(frozen=True)
class Collection:
    """A data set as found.

    Attributes:
        name: Name for tables and titles.
        parts: Its splits.
        mirror: Whether an image and its mirror image are of the same class (digits are not).
        left_out: What is not used.
        notes: What the user should know.
        pixel_classes: Names of the classes of masks, by value, where the data set itself has them.
    """

    name: str
    parts: list[Part]
    mirror: bool = True
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pixel_classes: tuple[str, ...] = ()


def in_order(names: Sequence[str]) -> list[str]:
    """Sort class names: integers by value, anything else as texts.

    Example:
        >>> in_order(["10", "9"]), in_order(["10", "9", "x"])
        (['9', '10'], ['10', '9', 'x'])
    """
    try:
        return sorted(names, key=lambda name: (int(name), name))
    except ValueError:
        return sorted(names)


def labels_of(values: Sequence[str]) -> Labels:
    """Number the labels of images in the order of :func:`in_order`."""
    names = in_order(list(set(values)))
    number = {name: k for k, name in enumerate(names)}
    return Labels(torch.tensor([number[value] for value in values], dtype=torch.int64), tuple(names))
