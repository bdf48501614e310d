"""A split before decoding: labels, and where each image is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from . import decode
from .boxes import Boxes
from .mask_values import stored_classes

T = TypeVar("T")


class Reader(Protocol):
    """Finds images by their row number."""

    def open(self, row: int) -> Image.Image:
        """Open an image; its pixels may be decoded later."""

    def where(self, row: int) -> str:
        """Say where an image is, for error messages."""

    @property
    def window(self) -> int:
        """How many blocks of storage may be read at a time; of no use where there are none."""

    def blocks(self, rows: Tensor) -> Tensor | None:
        """Number the block of storage of each row, (N,) to (N,); None when any row can be read alone."""

    def identity(self) -> Iterator[bytes]:
        """What tells these images from others: names and sizes, but not the place where they lie."""


@dataclass(frozen=True)
class FileReader:
    """One image file per row, which can be read in any order.

    Attributes:
        root: The folder that the names start from.
        names: Path of each file below it, with forward slashes.
        sizes: (N,), int64: bytes of each file.
    """

    root: str
    names: list[str]
    sizes: Tensor
    window: ClassVar[int] = 0

    def open(self, row: int) -> Image.Image:
        """Open an image file."""
        return Image.open(self.where(row))

    def where(self, row: int) -> str:
        """Name the file."""
        return f"{self.root}/{self.names[row]}"

    def blocks(self, rows: Tensor) -> None:
        """Files can be read in any order."""

    def identity(self) -> Iterator[bytes]:
        """Names and sizes of the files."""
        yield "\n".join(self.names).encode("utf-8", "surrogateescape")
        yield self.sizes.numpy().astype("<i8").tobytes()


@dataclass(frozen=True)
class ArrayReader:
    """Pixels that are in memory already: uint8 (N, C, H, W) with one or three channels."""

    pixels: Tensor
    window: ClassVar[int] = 0

    def open(self, row: int) -> Image.Image:
        """Make an image of a row."""
        return Image.fromarray(self.pixels[row].permute(1, 2, 0).squeeze(-1).numpy())

    def where(self, row: int) -> str:
        """Name the row."""
        return f"row {row}"

    def blocks(self, rows: Tensor) -> None:
        """Rows can be read in any order."""

    def identity(self) -> Iterator[bytes]:
        """Shape and pixels."""
        yield str(tuple(self.pixels.shape)).encode()
        yield self.pixels.contiguous().numpy().tobytes()


@dataclass(frozen=True)
class Split:
    """The images of one split: `rows` (N,) int64 of a reader, and their `labels` (N,) int64.

    Where a class is given to each pixel, `masks` finds the mask of a row; the labels then say nothing.
    Where objects have boxes, `boxes` has those of every row.
    """

    reader: Reader
    rows: Tensor
    labels: Tensor
    masks: Reader | None = None
    boxes: Boxes | None = None

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

    def header(self, index: int) -> decode.Header:
        """What the header of a sample's file says.

        Raises:
            ValueError: the image cannot be read; names the file.
        """
        row = int(self.rows[index])
        with decode.Naming(self.reader.where, row), self.reader.open(row) as image:
            return decode.header(image)

    def read(self, index: int, make: Callable[..., T]) -> T:
        """Decode a sample to mode ``L``, ``RGB`` or ``F``, and make something of it, and of its mask if any.

        Raises:
            FileNotFoundError: the file has vanished.
            ValueError: the image cannot be read, or `make` raises an error; names the file.
        """
        row = int(self.rows[index])
        with decode.Naming(self.reader.where, row), self.reader.open(row) as image:
            if self.masks is None:
                return make(decode.decoded(image))
            picture = decode.decoded(image)
        with decode.Naming(self.masks.where, row), self.masks.open(row) as mask:
            return make(picture, stored_classes(mask))

    def read_mask(self, index: int) -> npt.NDArray[np.int32]:
        """The values of a sample's mask as they are stored, (H, W).

        Raises:
            ValueError: it cannot be read, or is none; names the file.
        """
        assert self.masks is not None
        row = int(self.rows[index])
        with decode.Naming(self.masks.where, row), self.masks.open(row) as mask:
            return stored_classes(mask)

    def spread(self, size: int) -> Tensor:
        """Indices of about `size` samples from all over the split, or from ten blocks where it has blocks."""
        blocks = self.blocks
        if blocks is None:
            return torch.linspace(0, len(self) - 1, min(size, len(self))).long().unique()
        present = blocks.unique()
        chosen = present[torch.linspace(0, len(present) - 1, min(10, len(present))).long().unique()]
        each = -(-size // len(chosen))
        return torch.cat([(blocks == block).nonzero().flatten()[:each] for block in chosen])


def split_of(reader: Reader, labels: Tensor) -> Split:
    """Make a split of all rows of a reader."""
    return Split(reader, torch.arange(len(labels)), labels)
