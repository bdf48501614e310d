"""Splits held in memory.

N: samples, C: channels, H, W: height and width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from .batches import Batch, Labelled
from .split import ArrayReader, Split
from .transform import Transform
from .unreadable import Unreadable

_SLOW = 5_000  # reading so many images takes seconds: show progress


class MemoryStore:
    """A split as one tensor.

    Args:
        images: (N, *transform.kept): prepared images.
        split: Their labels; and their blocks of storage, so that an epoch has the order that it would have
            if they were read from there.
        transform: How batches are made of them.
    """

    def __init__(self, images: Tensor, split: Split, transform: Transform) -> None:
        self.images, self.labels, self.transform = images, split.labels, transform
        self.blocks, self.window = split.blocks, split.reader.window

    def raw(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan, uint8 or float32 as prepared."""
        for batch in plan:
            images = self.transform.finish(self.images[batch.own], self.transform.places(batch))
            yield images, self.labels[batch.own]

    def batches(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan."""
        for images, labels in self.raw(plan):
            yield self.transform.pair(images, labels)


def load(split: Split, transform: Transform) -> MemoryStore:
    """Decode a split.

    Raises:
        ValueError: images that cannot be read; names the files.
    """
    if (ready := _at_hand(split, transform)) is not None:
        return MemoryStore(ready, split, transform)
    images = torch.empty(len(split), *transform.kept, dtype=transform.dtype)
    pixels = images.numpy()
    unreadable = Unreadable()
    for index in counted(len(split)):
        with unreadable.kept():
            pixels[index] = split.read(index, transform.prepare)
    unreadable.tell()
    return MemoryStore(images, split, transform)


def counted(images: int) -> Iterable[int]:
    """Numbers of images, with a bar on a terminal when reading them takes a while."""
    console = Console(stderr=True)
    return track(
        range(images),
        description=f"Reading {images:,} images",
        console=console,
        transient=True,
        disable=images < _SLOW or not console.is_terminal,
    )


def _at_hand(split: Split, transform: Transform) -> Tensor | None:
    """Pixels that need no decoding and no change."""
    reader = split.reader
    if isinstance(reader, ArrayReader) and tuple(reader.pixels.shape[1:]) == transform.kept:
        return reader.pixels[split.rows]
    return None
