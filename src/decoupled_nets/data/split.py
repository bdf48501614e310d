"""A split before decoding: labels, and where each image is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from . import decode, sampling


class Reader(Protocol):
    """Finds images by their row number."""

    def open(self, row: int) -> Image.Image:
        """Open an image; its pixels may be decoded later."""

    def where(self, row: int) -> str:
        """Say where an image is, for error messages."""

    def blocks(self, rows: Tensor) -> Tensor | None:
        """Number the block of storage of each row, (N,) to (N,); None when any row can be read alone."""


@dataclass(frozen=True)
class FileReader:
    """One image file per row."""

    paths: list[str]

    def open(self, row: int) -> Image.Image:
        """Open an image file."""
        return Image.open(self.paths[row])

    def where(self, row: int) -> str:
        """Name the file."""
        return self.paths[row]

    def blocks(self, rows: Tensor) -> None:
        """Files can be read in any order."""


@dataclass(frozen=True)
class ArrayReader:
    """Pixels that are in memory already: uint8 (N, C, H, W) with one or three channels."""

    pixels: Tensor

    def open(self, row: int) -> Image.Image:
        """Make an image of a row."""
        return Image.fromarray(self.pixels[row].permute(1, 2, 0).squeeze(-1).numpy())

    def where(self, row: int) -> str:
        """Name the row."""
        return f"row {row}"

    def blocks(self, rows: Tensor) -> None:
        """Rows can be read in any order."""


@dataclass(frozen=True)
class Split:
    """The images of one split: `rows` (N,) int64 of a reader, and their `labels` (N,) int64."""

    reader: Reader
    rows: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: Tensor) -> Split:
        """Keep the samples at `indices`, in that order."""
        return replace(self, rows=self.rows[indices], labels=self.labels[indices])

    @property
    def blocks(self) -> Tensor | None:
        """Block of storage of each sample, (N,) int64; None when the order of reading does not matter."""
        return self.reader.blocks(self.rows)

    def where(self, index: int) -> str:
        """Say where a sample is."""
        return self.reader.where(int(self.rows[index]))

    def header(self, index: int) -> tuple[tuple[int, int], int]:
        """Size (H, W) and channels (1 or 3) of a sample, by the header of its file."""
        with _Reading(self, index), self.reader.open(int(self.rows[index])) as image:
            return (image.height, image.width), 1 if decode.is_grey(image) else 3

    def read(self, index: int) -> Image.Image:
        """Decode a sample to mode ``L`` or ``RGB``.

        Raises:
            FileNotFoundError: the file has vanished.
            ValueError: the image cannot be read; names the file.
        """
        with _Reading(self, index), self.reader.open(int(self.rows[index])) as image:
            return decode.to_grey_or_rgb(image)

    def spread(self, size: int) -> Tensor:
        """Indices of about `size` samples from all over the split, or from ten blocks where it has blocks."""
        blocks = self.blocks
        if blocks is None:
            return torch.linspace(0, len(self) - 1, min(size, len(self))).long().unique()
        present = blocks.unique()
        chosen = present[torch.linspace(0, len(present) - 1, min(10, len(present))).long().unique()]
        each = -(-size // len(chosen))
        return torch.cat([(blocks == block).nonzero().flatten()[:each] for block in chosen])


@dataclass(frozen=True)
class Source:
    """A data set before decoding.

    Attributes:
        name: Name for tables and titles.
        classes: Names of the classes, by label.
        train: Training split.
        test: Test split.
        mirror: Whether an image and its mirror image are of the same class (digits are not).
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mirror: bool = True


@dataclass(frozen=True)
class _Reading:
    """Turns what Pillow raises on a bad image into a ValueError that names it."""

    split: Split
    index: int

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            return
        if isinstance(error, (OSError, SyntaxError, ValueError, Image.DecompressionBombError)):
            where = self.split.where(self.index)
            raise ValueError(f"Cannot read the image {where}: {error}") from error


def split_of(reader: Reader, labels: Tensor) -> Split:
    """Make a split of all rows of a reader."""
    return Split(reader, torch.arange(len(labels)), labels)


def held_out(reader: Reader, labels: Tensor, where: str | Path) -> tuple[Split, Split]:
    """Split the rows of a reader 80/20, stratified, always alike.

    Raises:
        ValueError: a class with fewer than two images.
    """
    counts = torch.bincount(labels)
    if (counts == 1).any():
        raise ValueError(
            f"{where} has no test split, and its class {int((counts == 1).nonzero()[0])} has one image only;"
            " needed: two or more of each class, to hold some out for the test"
        )
    whole = split_of(reader, labels)
    train, test = sampling.hold_out(labels)
    return whole.select(train), whole.select(test)
