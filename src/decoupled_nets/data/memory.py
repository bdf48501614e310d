"""Splits held in memory as uint8 tensors, augmented by batch.

B: batch, N: samples, C: channels, H, W: height and width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torchvision.transforms import v2

from .batches import Batch, Labelled, to_float
from .sampling import generator
from .split import ArrayReader, Split

FALLBACK_SIZE = 224
_SLOW = 5_000  # decoding so many images takes seconds: show progress


class MemoryStore:
    """A split as one tensor.

    Args:
        images: (N, C, H, W), uint8.
        labels: (N,), int64.
        mirror: Whether augmentation mirrors images.
    """

    def __init__(self, images: Tensor, labels: Tensor, mirror: bool) -> None:
        self.images, self.labels, self.mirror = images, labels, mirror

    @property
    def blocks(self) -> None:
        """Samples can be read in any order."""

    def batches(self, plan: Iterable[Batch]) -> Iterator[Labelled]:
        """Make the batches of a plan."""
        for batch in plan:
            images = self.images[batch.own]
            if batch.key is not None:
                images = augment(images, batch, self.mirror)
            yield to_float(images), self.labels[batch.own]


def augment(images: Tensor, batch: Batch, mirror: bool) -> Tensor:
    """Shift each image by up to an eighth of its size, filling with black, and mirror half of them.

    The random numbers are drawn for the global batch, so that each process sees its part of what one would
    see.

    Args:
        images: (B, C, H, W), uint8: this process's part of the batch.
        batch: The batch.
        mirror: Whether to mirror.

    Returns:
        (B, C, H, W), uint8.
    """
    height, width = images.shape[-2:]
    pad_y, pad_x = max(1, round(height / 8)), max(1, round(width / 8))
    assert batch.key is not None
    rng = generator("augment", *batch.key)
    y, x, flipped = (
        torch.randint(high, (len(batch.indices),), generator=rng)[batch.shard]
        for high in (2 * pad_y + 1, 2 * pad_x + 1, 2)
    )
    padded = F.pad(images, (pad_x, pad_x, pad_y, pad_y))
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, C, 2 pad_y + 1, 2 pad_x + 1, H, W)
    images = crops[torch.arange(len(images)), :, y, x]
    return torch.where(flipped.bool()[:, None, None, None], images.flip(-1), images) if mirror else images


def decode_splits(splits: tuple[Split, Split], size: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """Decode both splits to uint8 tensors (N, C, H, W), alike in C, H and W.

    Args:
        splits: Training and test split.
        size: (H, W) to resize to, the shorter side first and then a central crop; None: the images' own size,
            or 224×224 when they are not all alike.

    Raises:
        ValueError: an image that cannot be read; names the file.
    """
    if (pixels := _pixels_at_hand(splits, size)) is not None:
        return pixels
    train, test = (_decode(split, size) for split in splits)
    arrays = [*train, *test]
    if len({array.shape[:2] for array in arrays}) > 1:
        fallback = fit((FALLBACK_SIZE, FALLBACK_SIZE))
        arrays = [np.asarray(fallback(Image.fromarray(array))) for array in arrays]
    if any(array.ndim == 3 for array in arrays):
        arrays = [array if array.ndim == 3 else np.stack([array] * 3, axis=-1) for array in arrays]
    stacked = torch.from_numpy(np.stack(arrays))
    stacked = stacked.permute(0, 3, 1, 2).contiguous() if stacked.ndim == 4 else stacked.unsqueeze(1)
    return stacked[: len(train)], stacked[len(train) :]


def fit(size: tuple[int, int]) -> v2.Transform:
    """Resize so that an image covers (H, W), and crop the centre."""
    height, width = size
    return v2.Compose([v2.Resize(max(height, width)), v2.CenterCrop(size)])


def _pixels_at_hand(
    splits: tuple[Split, Split], size: tuple[int, int] | None
) -> tuple[Tensor, Tensor] | None:
    found = []
    for split in splits:
        if not isinstance(split.reader, ArrayReader) or size not in (None, split.reader.pixels.shape[-2:]):
            return None
        found.append(split.reader.pixels[split.rows])
    return found[0], found[1]


def _decode(split: Split, size: tuple[int, int] | None) -> list[npt.NDArray[np.uint8]]:
    resize = fit(size) if size else None
    indices = track(
        range(len(split)),
        description=f"Reading {len(split):,} images",
        console=Console(stderr=True),
        transient=True,
        disable=len(split) < _SLOW,
    )
    images = (split.read(index) for index in indices)
    return [np.asarray(resize(image) if resize else image) for image in images]
