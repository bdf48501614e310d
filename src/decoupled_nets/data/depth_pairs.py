"""Pairs of an image and a depth map: where they are, and a store of those in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from . import decode
from .batches import Batch, Labelled
from .depth_transform import DepthTransform, check_alike
from .depth_values import Values
from .memory import counted
from .split import Split
from .unreadable import Unreadable

T = TypeVar("T")


@dataclass(frozen=True)
class DepthSplit(Split):
    """Pairs of one split; `masks` finds the depth map of a row."""

    def values(self, index: int) -> Values:
        """The map of a sample as stored, (H, W).

        Raises:
            ValueError: it cannot be read; names the file.
        """
        row, maps = int(self.rows[index]), self.masks
        assert maps is not None
        with decode.Naming(maps.where, row):
            return maps.values(row)  # type: ignore[attr-defined]

    def check(self, index: int, size: tuple[int, ...]) -> None:
        """Look at the header of a sample's image, whether it is as large as its map.

        Raises:
            ValueError: it is not, or cannot be read; names the file.
        """
        row, maps = int(self.rows[index]), self.masks
        assert maps is not None
        with decode.Naming(self.reader.where, row), self.reader.open(row) as image:
            found = decode.header(image).size
        with decode.Naming(maps.where, row):
            check_alike(size, found)

    def read(self, index: int, make: Callable[..., T]) -> T:
        """Decode the image of a sample, and make something of it and its map; errors as of a split's."""
        row, maps = int(self.rows[index]), self.masks
        assert maps is not None
        with decode.Naming(self.reader.where, row), self.reader.open(row) as image:
            picture = decode.decoded(image)
        depth = self.values(index)
        with decode.Naming(maps.where, row):
            return make(picture, depth)


class PairStore:
    """Pairs in memory, each of its own size, as :class:`StreamStore` would read them.

    Args:
        split: Where they are; a sample may stand in it several times.
        transform: How batches are made of them.
    """

    blocks: Tensor | None = None
    window = 0

    def __init__(self, split: DepthSplit, transform: DepthTransform) -> None:
        self.labels, self.transform, self._rows = split.labels, transform, split.rows.tolist()
        self._pairs: dict[int, Tensor] = {}
        unreadable = Unreadable()
        for index in counted(len(split)):
            if (row := self._rows[index]) not in self._pairs:
                with unreadable.kept():
                    self._pairs[row] = torch.from_numpy(split.read(index, transform.prepare).copy())
        unreadable.tell()

    def raw(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan, as prepared."""
        for batch in plan:
            places, made = self.transform.places(batch), []
            for k, index in enumerate(batch.own.tolist()):
                place = None if places is None else places[k : k + 1]
                made.append(self.transform.finish(self._pairs[self._rows[index]][None], place)[0])
            empty = torch.empty(0, *self.transform.made)
            yield self.transform.stack(made) if made else empty, self.labels[batch.own]

    def batches(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan."""
        for images, labels in self.raw(plan):
            yield self.transform.pair(images, labels)
