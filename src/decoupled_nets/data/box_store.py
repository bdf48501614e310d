"""Images of a split with their boxes: images as any store keeps them, boxes beside them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from torch import Tensor

from .batches import Batch, Labelled, Store, to_float
from .box_transform import BoxTransform


class BoxStore:
    """A split whose targets are boxes.

    Args:
        images: Gives images as they are prepared.
        truth: (N, M, 7): the boxes of each, as they lie in a prepared image.
        transform: How training images and boxes are augmented.
    """

    def __init__(self, images: Store, truth: Tensor, transform: BoxTransform) -> None:
        self._images, self.truth, self._transform = images, truth, transform
        self.labels = images.labels

    @property
    def window(self) -> int:
        """How many blocks of storage an epoch mixes at a time."""
        return self._images.window

    @property
    def blocks(self) -> Tensor | None:
        """Which block of storage has each sample."""
        return self._images.blocks

    def raw(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan, uint8 or float32 as prepared, with boxes (B, M, 7)."""
        inner, outer = itertools.tee(plan)
        plain = (Batch(batch.indices, batch.shard) for batch in inner)
        one = list(itertools.islice(plain, 2))  # a store reads a single batch without further processes
        made = self._images.raw(one if len(one) < 2 else itertools.chain(one, plain))
        for (images, _), batch in zip(made, outer, strict=True):
            truth, seeds = self.truth[batch.own], self._transform.places(batch)
            yield (images, truth) if seeds is None else self._transform.augmented(images, truth, seeds)

    def batches(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan: images, float32 in [0, 1], and boxes (B, M, 7)."""
        for images, truth in self.raw(plan):
            yield to_float(images), truth
