"""What the loaders ask for, and what a store gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Images (B, C, H, W), float32 in [0, 1], and targets, int64: labels (B,), or classes of pixels (B, H, W).
Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Batch:
    """One global batch, and the part of it that this process makes.

    Attributes:
        indices: (B,), int64: samples of the global batch.
        shard: This process's part of them.
        key: Seed, epoch and number of the batch: what its augmentation depends on. None: no augmentation.
    """

    indices: Tensor
    shard: slice
    key: tuple[int, int, int] | None = None

    @property
    def own(self) -> Tensor:
        """Samples of this process."""
        return self.indices[self.shard]


class Store(Protocol):
    """The images of a split, in memory or on disk."""

    labels: Tensor

    @property
    def window(self) -> int:
        """How many blocks of storage an epoch mixes at a time."""

    @property
    def blocks(self) -> Tensor | None:
        """Which block of storage has each sample; None when the order of reading does not matter."""

    def raw(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan, one after another, in the type that images are kept in."""

    def batches(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan, one after another."""


def to_float(images: Tensor) -> Tensor:
    """Bring uint8 pixels to float32 in [0, 1]; float32 pixels are there already."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images
