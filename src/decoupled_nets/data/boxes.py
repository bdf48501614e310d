"""Objects in images: as a reader of some format finds them, and as a network is to find them.

N: images, M: the most objects that an image has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .found import LeftOut

#: What is known of an object: corners x1, y1, x2, y2 in pixels, class from 0, 1 for a crowd, and the area of
#: the object itself in pixels; 0: only its box is known.
FIELDS = 7
#: The class of a row without an object.
NOTHING = -1
_MOST_DEGENERATE = 0.01


@dataclass(frozen=True)
class Thing:
    """An object as a file has it.

    Attributes:
        box: x1, y1, x2, y2, in pixels or, of a format that is relative, in shares of the image's sides.
        name: Its class.
        where: Which one it is of its file, in words.
        crowd: Whether it is a group, which is neither to be found nor wrong to find.
        area: Of the object itself, in pixels; 0: the file has none.
    """

    box: tuple[float, float, float, float]
    name: str
    where: str
    crowd: bool = False
    area: float = 0.0


@dataclass(frozen=True)
class Annotated:
    """An image and its objects.

    Attributes:
        image: Path of the image below the root.
        source: Path of the file that has its objects.
        things: The objects.
        relative: Whether boxes are in shares of the image's sides.
        size: (H, W) of the image by that file; None: it says nothing of it.
    """

    image: str
    source: str
    things: list[Thing] = field(default_factory=list)
    relative: bool = False
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class BoxSplit:
    """A split as found: its name, where it is in words, and its images."""

    name: str
    source: str
    images: list[Annotated]


@dataclass(frozen=True)
class BoxSet:
    """A data set as found: its splits, names of the classes in order, and what is to be said of it."""

    root: str
    layout: str
    splits: list[BoxSplit]
    names: tuple[str, ...]
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Boxes:
    """The objects of images: `truth` (N, M, 7), float32; rows without an object have the class -1."""

    truth: Tensor

    def identity(self) -> Iterator[bytes]:
        """What tells these objects from others."""
        yield str(tuple(self.truth.shape)).encode()
        yield self.truth.contiguous().numpy().astype("<f4").tobytes()


@dataclass
class Checked:
    """Counts of what was found and mended in boxes, over all splits."""

    things: int = 0
    clipped: int = 0
    dropped: int = 0
    crowds: int = 0
    empty: int = 0
    example: str = ""

    def notes(self, images: int) -> list[str]:
        """What is to be said."""
        notes = [f"{self.things:,} objects in {images:,} images"]
        if self.crowds:
            notes[0] += f", {self.crowds:,} of them crowds, which neither train nor count"
        if self.empty:
            notes.append(f"{self.empty:,} images without objects are kept: there is nothing to find in them")
        if self.clipped:
            notes.append(f"{self.clipped:,} boxes reach beyond their image and are cut at its edges")
        return notes

    def left_out(self) -> list[LeftOut]:
        """Objects that are not used."""
        return [LeftOut("boxes without area", self.dropped, self.example)] if self.dropped else []


def truth_of(
    images: Sequence[Annotated], sizes: Sequence[tuple[int, int]], names: Sequence[str], checked: Checked
) -> list[Tensor]:
    """The objects of images, (n, 7) each, cut at the edges of the image; boxes without area are dropped.

    Args:
        images: as found.
        sizes: (H, W) of each.
        names: of the classes.
        checked: counts along.

    Raises:
        ValueError: a class that is not among the names, or an image of another size than its file says;
            names file and object.
    """
    number = {name: k for k, name in enumerate(names)}
    found = []
    for one, (height, width) in zip(images, sizes, strict=True):
        if one.size not in (None, (height, width)):
            raise ValueError(
                f"{one.source} has {_by(one.size)} pixels for {one.image}, which has"
                f" {_by((height, width))} as it is shown; needed: the same, as boxes are in these pixels"
            )
        rows = []
        for thing in one.things:
            if thing.name not in number:
                raise ValueError(
                    f"{one.source}, {thing.where}, is of the class {thing.name!r}, of which no training image"
                    f" has an object; needed: one of {', '.join(names[:20])}"
                )
            checked.things += 1
            x1, y1, x2, y2 = thing.box
            if one.relative:
                x1, y1, x2, y2 = x1 * width, y1 * height, x2 * width, y2 * height
            inside = (_cut(x1, width), _cut(y1, height), _cut(x2, width), _cut(y2, height))
            if inside[2] <= inside[0] or inside[3] <= inside[1]:
                checked.dropped += 1
                checked.example = checked.example or f"{one.source}, {thing.where}"
                continue
            # Shares of an image are rounded in their files: less than half a pixel is no slip.
            moved = max(abs(a - b) for a, b in zip(inside, (x1, y1, x2, y2), strict=True))
            checked.clipped += moved > 0.5
            checked.crowds += thing.crowd
            rows.append([*inside, number[thing.name], thing.crowd, thing.area])
        checked.empty += not rows
        found.append(torch.tensor(rows, dtype=torch.float32).reshape(-1, FIELDS))
    return found


def _by(size: tuple[int, int] | None) -> str:
    return "×".join(map(str, size or ()))


def size_told(height: object, width: object) -> tuple[int, int] | None:
    """(H, W) as a file has it; None: it has none, or 0, as some programs write."""
    try:
        size = int(height), int(width)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return None
    return size if min(size) > 0 else None


def _cut(value: float, most: int) -> float:
    return min(max(value, 0.0), float(most))


def refuse_degenerate(checked: Checked) -> None:
    """Refuse a set of which more than a few boxes have no area: corners were taken for sizes, or the like.

    Raises:
        ValueError: there are more than one in a hundred.
    """
    if checked.dropped > _MOST_DEGENERATE * checked.things:
        raise ValueError(
            f"{checked.dropped:,} of {checked.things:,} boxes have no area within their image, such as"
            f" {checked.example}; needed: at most {100 * _MOST_DEGENERATE:g} % of them; are corners given"
            " where width and height belong, or the other way round?"
        )


def padded(objects: Sequence[Tensor]) -> Tensor:
    """Objects of some images, (n, 7) each, as one tensor (N, M, 7); M is at least 1."""
    most = max([1, *map(len, objects)])
    truth = torch.zeros(len(objects), most, FIELDS)
    truth[..., 4] = NOTHING
    for row, own in zip(truth, objects, strict=True):
        row[: len(own)] = own
    return truth


def own_classes(truth: Tensor) -> Tensor:
    """Classes of objects (..., 7) that train and count: no crowds, and no rows without an object."""
    return truth[(truth[..., 4] != NOTHING) & (truth[..., 5] == 0)][:, 4].long()


def four_numbers(values: object, where: str, order: str) -> tuple[float, float, float, float]:
    """A box as four finite numbers.

    Args:
        values: of a file.
        where: file and object, for messages.
        order: what the numbers mean, for messages.

    Raises:
        ValueError: they are not.
    """
    try:
        a, b, c, d = map(float, values)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise ValueError(f"{where} has the box {values!r}; needed: four numbers, {order}") from None
    if not all(map(math.isfinite, (a, b, c, d))):
        raise ValueError(f"{where} has the box {values!r}; needed: four finite numbers, {order}")
    return a, b, c, d
