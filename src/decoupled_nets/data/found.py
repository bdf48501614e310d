"""What was found where the user pointed: an object that prints itself."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._spelling import spelled

WIDTH = 80
FEW = 10  # training images of a class; with fewer there is a warning
_CLASSES_SHOWN = 20
_KINDS_SHOWN = 8


@dataclass(frozen=True)
class LeftOut:
    """What was there and is not used: why, how many, and one of them."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True)
class SplitFound:
    """One of the three sets.

    Attributes:
        name: `training`, `validation` or `test`.
        source: Where its images come from, in words.
        images: How many images it has.
        classes: How many classes have images in it.
        counts: Images of each class, in the order of `Found.classes`; empty where pixels have classes.
    """

    name: str
    source: str
    images: int
    classes: int
    counts: list[int]


@dataclass(frozen=True)
class Found:
    """What a data set turned out to be, and what is made of it.

    ``str(found)`` is a table of at most 80 columns.

    Attributes:
        name: Name of the data set.
        splits: Training, validation and test set.
        classes: Names of the classes, by label.
        sizes: Height and width of the images as they are: one pair, or the smallest and the largest.
        image_size: Height and width (H, W) of the images that a network is given.
        in_chans: Channels of the images: 1 or 3.
        bits: Bits of a channel of a pixel as stored: 8, 16 or 32.
        pixel_range: Stored values that become 0 and 1.
        augmentation: How images are brought to their size, and what happens to training images, in words.
        left_out: What is not used.
        notes: What was decided for the user, and the option that decides otherwise.
    """

    name: str
    splits: list[SplitFound]
    classes: list[str]
    sizes: list[tuple[int, int]]
    image_size: tuple[int, int]
    in_chans: int
    bits: int
    pixel_range: tuple[float, float]
    augmentation: str
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """All of it as dictionaries, lists, strings and numbers, for JSON."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Found:
        """The inverse of :meth:`to_dict`."""
        pairs: dict[str, Any] = {name: tuple(raw[name]) for name in ("image_size", "pixel_range")}
        return cls(
            **{**raw, **pairs, "sizes": [tuple(size) for size in raw["sizes"]],
               "splits": [SplitFound(**split) for split in raw["splits"]],
               "left_out": [LeftOut(**thing) for thing in raw["left_out"]]}
        )  # fmt: skip

    def table(self) -> list[tuple[str, str, str, str]]:
        """The splits as rows of a table, the head first."""
        if not self.classes:
            return [
                ("Split", "Images", "", "From"),
                *((s.name, f"{s.images:,}", "", s.source) for s in self.splits),
            ]
        rows = [(s.name, f"{s.images:,}", str(s.classes), spelled(s.source)) for s in self.splits]
        return [("Split", "Images", "Classes", "From"), *rows]

    def details(self) -> list[tuple[str, str]]:
        """Everything else, as pairs of a heading and a text."""
        rows = [("Classes", self._classes())] if self.classes else []
        rows += [("Size", self._size()), ("Pixels", self._pixels())]
        rows.append(("Augmentation", self.augmentation))
        for thing in self.left_out[:_KINDS_SHOWN]:
            rows.append(("Left out", f"{thing.reason}: {thing.count:,}, such as {thing.example}"))
        if more := self.left_out[_KINDS_SHOWN:]:
            rows.append(("Left out", f"for {len(more)} other reasons: {sum(m.count for m in more):,}"))
        if few := self.too_few:
            rows.append(("Warning", few))
        return rows + [("Note", spelled(note)) for note in self.notes]

    @property
    def too_few(self) -> str | None:
        """A warning, if the training set is too small for its classes; else None."""
        images, classes = self.splits[0].images, len(self.classes)
        if images >= FEW * classes:
            return None
        return (
            f"{images:,} training images received for {classes:,} classes; needed: {FEW} or more of each"
            " class; with fewer, accuracy may stay near chance"
        )

    def __str__(self) -> str:
        head = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name, side in zip(self.table()[0], ("left", "right", "right", "left"), strict=True):
            head.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
        for row in self.table()[1:]:
            head.add_row(*map(Text, row))
        rest = Table.grid(padding=(0, 2, 0, 0))
        rest.add_column(no_wrap=True)
        rest.add_column(overflow="fold")
        for heading, text in self.details():
            rest.add_row(Text(heading), Text(text))
        console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False)
        console.print(Text(f"Data: {self.name}"), head, rest, sep="\n")
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in lines)

    def _classes(self) -> str:
        if not any(split.counts for split in self.splits):
            shown, more = self.classes[:_CLASSES_SHOWN], len(self.classes) - _CLASSES_SHOWN
            end = f" … and {more} more" if more > 0 else ""
            return f"{len(self.classes)}: {', '.join(shown)}{end}"
        totals = [sum(split.counts[k] for split in self.splits) for k in range(len(self.classes))]
        alike = len(set(totals)) == 1
        shown = self.classes[:_CLASSES_SHOWN]
        if not alike:
            shown = [f"{name} ({n:,})" for name, n in zip(shown, totals, strict=False)]
        head = f"{len(self.classes)}" + (f", {totals[0]:,} images each" if alike else "")
        more = len(self.classes) - len(shown)
        return f"{head}: {', '.join(shown)}" + (f" … and {more} more" if more else "")

    def _size(self) -> str:
        seen = " to ".join(map(_by, self.sizes))
        return seen if self.sizes == [self.image_size] else f"{seen}, given as {_by(self.image_size)}"

    def _pixels(self) -> str:
        channels = "1 channel" if self.in_chans == 1 else f"{self.in_chans} channels"
        low, high = self.pixel_range
        return f"{channels} of {self.bits} bits; {low:g} becomes 0 (black), {high:g} becomes 1"


def readable(text: str) -> str:
    r"""A text that can be written: bytes of a file's name that are no UTF-8 stand as ``\xe9``.

    Example:
        >>> print(readable("caf\udce9"))
        caf\xe9
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
