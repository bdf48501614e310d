"""The one door to the data: `load_data`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .batches import Batch, Labelled, Store
from .config import DataConfig
from .loaders import TestLoader, TrainLoader
from .memory import FALLBACK_SIZE, MemoryStore, decode_splits
from .sampling import balanced_subset
from .sources import find_source
from .split import Source, Split
from .stream import StreamStore

_PROBE = 1000  # images that stand for all where reading all would take too long


@dataclass(frozen=True)
class ImageData:
    """Labelled images, as batches of pixels in [0, 1]; normalisation is the model's part.

    Attributes:
        name: Name for tables and titles.
        classes: Names of the classes, by label.
        in_chans: Channels C of the images: 1 or 3.
        image_size: Height and width (H, W) of the images.
        mean: Mean of each channel over the training pixels, in [0, 1]; of streamed data, over 1000 images.
        std: Standard deviation likewise, at least 1/255.
        train: The training split.
        test: The test split.
        augment: Whether training batches are augmented.
    """

    name: str
    classes: tuple[str, ...]
    in_chans: int
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Store
    test: Store
    augment: bool

    @property
    def train_size(self) -> int:
        """Number of training images."""
        return len(self.train.labels)

    @property
    def test_size(self) -> int:
        """Number of test images."""
        return len(self.test.labels)

    def train_loader(self, batch_size: int, seed: int, *, rank: int = 0, world_size: int = 1) -> TrainLoader:
        """Iterate over shuffled, augmented training batches; `batch_size` is that of all processes together.

        Raises:
            ValueError: a batch size that the processes cannot share evenly.
        """
        return TrainLoader(
            self.train, batch_size, seed, augment=self.augment, rank=rank, world_size=world_size
        )

    def test_loader(self, batch_size: int, *, rank: int = 0, world_size: int = 1) -> TestLoader:
        """Iterate over all test images in order; `batch_size` is that of all processes together.

        Raises:
            ValueError: a batch size that the processes cannot share evenly.
        """
        return TestLoader(self.test, batch_size, rank=rank, world_size=world_size)

    def test_subset(self, n: int) -> Labelled:
        """Give `n` test images (all, if there are fewer), as many of each class as possible, always the same.

        Returns:
            Images (n, C, H, W), float32 in [0, 1], and labels (n,), int64.

        Raises:
            ValueError: `n` is not positive.
        """
        if n < 1:
            raise ValueError(f"n is {n}; needed: at least 1")
        chosen = balanced_subset(self.test.labels, n, "test subset")
        return next(self.test.batches([Batch(chosen, slice(None))]))


def load_data(config: DataConfig) -> ImageData:
    """Find, check and, if it fits, decode the data that a configuration describes.

    Raises:
        FileNotFoundError: data that is not there.
        ValueError: an unknown name, or data that is not as it must be; names the file.
    """
    source = find_source(config)
    source = replace(
        source,
        mirror=source.mirror and config.mirror,
        train=_limited(source.train, config.train_size, "train"),
        test=_limited(source.test, config.test_size, "test"),
    )
    in_chans, own_size = _probe(source)
    wanted = (config.image_size, config.image_size) if config.image_size else None
    fallback = (FALLBACK_SIZE, FALLBACK_SIZE)
    height, width = wanted or own_size or fallback
    pixels = (len(source.train) + len(source.test)) * in_chans * height * width
    if pixels <= config.memory * 2**30:
        return _in_memory(source, config, wanted or (None if own_size else fallback))
    return _streamed(source, config, in_chans, wanted or fallback)


def _limited(split: Split, size: int | None, name: str) -> Split:
    if size is None:
        return split
    if size > len(split):
        raise ValueError(f"{name}_size is {size}; needed: at most {len(split)}, the images there are")
    return split.select(balanced_subset(split.labels, size, name))


def _probe(source: Source) -> tuple[int, tuple[int, int] | None]:
    """Channels, and size (H, W) if all are alike, of up to 1000 images of each split."""
    headers = [split.header(int(i)) for split in (source.train, source.test) for i in split.spread(_PROBE)]
    sizes = {size for size, _ in headers}
    return max(channels for _, channels in headers), sizes.pop() if len(sizes) == 1 else None


def _in_memory(source: Source, config: DataConfig, size: tuple[int, int] | None) -> ImageData:
    train, test = decode_splits((source.train, source.test), size)
    return _image_data(
        source,
        config,
        MemoryStore(train, source.train.labels, source.mirror),
        MemoryStore(test, source.test.labels, source.mirror),
        train,
    )


def _streamed(source: Source, config: DataConfig, in_chans: int, size: tuple[int, int]) -> ImageData:
    train, test = (
        StreamStore(split, in_chans, size, config.workers, source.mirror)
        for split in (source.train, source.test)
    )
    plan = [Batch(indices, slice(None)) for indices in source.train.spread(_PROBE).split(50)]
    probe = torch.cat([(images * 255).round().byte() for images, _ in train.batches(plan)])
    return _image_data(source, config, train, test, probe)


def _image_data(source: Source, config: DataConfig, train: Store, test: Store, pixels: Tensor) -> ImageData:
    mean, std = _statistics(pixels)
    _, in_chans, height, width = pixels.shape
    return ImageData(
        source.name, source.classes, in_chans, (height, width), mean, std, train, test, config.augment
    )


def _statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 (N, C, H, W), by counting the 256 values."""
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack([channel.flatten().bincount(minlength=256) for channel in pixels.unbind(1)]).double()
    weights = counts / counts.sum(1, keepdim=True)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(1)
    return tuple(mean.tolist()), tuple(variance.sqrt().clamp(min=1 / 255).tolist())
