"""The one door to the data: `load_data`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .augment import strong
from .batches import Batch, Labelled, Store
from .config import DataConfig
from .found import Found, SplitFound
from .loaders import TestLoader, TrainLoader
from .look import FALLBACK_SIZE, Look, look_at
from .memory import load
from .roles import ROLES, WORDS
from .sampling import balanced_subset
from .sets import Sets, three_sets
from .sources import find_source
from .stream import StreamStore
from .transform import Transform
from .used import check_used

_PROBE = 1000  # images that stand for all where reading all would take too long
_BALANCED = "an epoch has as many training images of each class, those of rare ones several times"
_MOST_PIXELS = 2**28  # up to so many values in the training images mean and deviation are those of all


@dataclass(frozen=True)
class ImageData:
    """Labelled images, as batches of pixels in [0, 1]; normalisation is the model's part.

    Attributes:
        name: Name for tables and titles.
        classes: Names of the classes, by label.
        in_chans: Channels C of the images: 1 or 3.
        image_size: Height and width (H, W) of the images.
        mean: Mean of each channel over the training pixels, in [0, 1]; of large sets, over 1000 images.
        std: Standard deviation likewise, at least 1/255.
        train: The training set.
        val: The validation set: what chooses between epochs and settings.
        test: The test set: read once, at the end.
        augment: Whether training batches are augmented.
        balanced: Whether an epoch has as many images of each class.
        found: What was found, and what was made of it; prints itself.
        digest: Tells this data from other data: a hash of names, sizes, labels and splits.
    """

    name: str
    classes: tuple[str, ...]
    in_chans: int
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Store
    val: Store
    test: Store
    augment: bool
    found: Found
    digest: str
    balanced: bool = False

    @property
    def network_options(self) -> dict[str, Any]:
        """What a network has to know of the data beside channels and classes; part of every checkpoint."""
        return {}

    @property
    def train_size(self) -> int:
        """Number of training images."""
        return len(self.train.labels)

    @property
    def val_size(self) -> int:
        """Number of validation images."""
        return len(self.val.labels)

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
            self.train, batch_size, seed, augment=self.augment, balanced=self.balanced, rank=rank,
            world_size=world_size,
        )  # fmt: skip

    def val_loader(self, batch_size: int, *, rank: int = 0, world_size: int = 1) -> TestLoader:
        """Iterate over all validation images in order; `batch_size` is that of all processes together.

        Raises:
            ValueError: a batch size that the processes cannot share evenly.
        """
        return TestLoader(self.val, batch_size, rank=rank, world_size=world_size)

    def test_loader(self, batch_size: int, *, rank: int = 0, world_size: int = 1) -> TestLoader:
        """Iterate over all test images in order; `batch_size` is that of all processes together.

        Raises:
            ValueError: a batch size that the processes cannot share evenly.
        """
        return TestLoader(self.test, batch_size, rank=rank, world_size=world_size)

    def train_subset(self, n: int) -> Labelled:
        """Give `n` training images, not augmented; otherwise as :meth:`test_subset`."""
        return _subset(self.train, n, "training subset")

    def val_subset(self, n: int) -> Labelled:
        """Give `n` validation images (all, if there are fewer); otherwise as :meth:`test_subset`."""
        return _subset(self.val, n, "validation subset")

    def test_subset(self, n: int) -> Labelled:
        """Give `n` test images (all, if there are fewer), as many of each class as possible, always the same.

        Returns:
            Images (n, C, H, W), float32 in [0, 1], and targets (n, ...), int64.

        Raises:
            ValueError: `n` is not positive.
        """
        return _subset(self.test, n, "test subset")

    def test_image(self, index: int) -> tuple[Tensor, Any]:
        """Give test image number `index`, from 0, in the order of :meth:`test_loader`.

        Returns:
            The image, (1, C, H, W), float32 in [0, 1], and its label or, (H, W), the classes of its pixels.

        Raises:
            ValueError: there is no such image.
        """
        if not 0 <= index < self.test_size:
            raise ValueError(f"test image {index} received; needed: 0 to {self.test_size - 1}")
        image, label = next(self.test.batches([Batch(torch.tensor([index]), slice(None))]))
        return image, int(label) if label.dim() == 1 else label[0]


def _subset(store: Store, n: int, key: str) -> Labelled:
    if n < 1:
        raise ValueError(f"n = {n} received; needed: at least 1")
    return next(store.batches([Batch(balanced_subset(store.labels, n, key), slice(None))]))


def load_data(config: DataConfig) -> ImageData:
    """Find, check and, if it fits, decode the data that a configuration describes.

    Whether images are held in memory makes no difference to the batches.

    Raises:
        FileNotFoundError: data that is not there.
        ValueError: an unknown name, or data that is not as it must be; names the file.
    """
    sets, look, transform = _find(config)
    return image_data(sets, transform, config, _found(sets, look, transform, config))


def image_data(sets: Sets, transform: Transform, config: DataConfig, found: Found) -> ImageData:
    """Decode, if they fit, the three sets that were found."""
    size = sum(len(split) for split in sets.splits.values()) * torch.Size(transform.kept).numel()
    small = size * transform.dtype.itemsize <= config.memory * 2**30
    train, val, test = (
        load(sets.splits[role], transform)
        if small
        else StreamStore(sets.splits[role], transform, config.workers)
        for role in ROLES
    )
    mean, std = statistics(train, sets, transform)
    return ImageData(
        sets.name, sets.classes, transform.in_chans, transform.size, mean, std, train, val, test,
        config.augment, found, sets.digest, config.sampling == "balanced",
    )  # fmt: skip


def describe_data(config: DataConfig) -> Found:
    """What :func:`load_data` finds, without decoding what need not be decoded.

    Raises:
        FileNotFoundError: data that is not there.
        ValueError: an unknown name, or data that is not as it must be; names the file.
    """
    return _found(*_find(config), config)


def _find(config: DataConfig) -> tuple[Sets, Look, Transform]:
    check_used(config, "labels")
    sets = three_sets(find_source(config), config)
    look, size = looked_at(sets, config)
    transform = Transform(
        look.in_chans, size, look.sizes == [size], sets.mirror, look.pixel_range, config.pixel_range is None,
        strong(config),
    )  # fmt: skip
    return sets, look, transform


def looked_at(sets: Sets, config: DataConfig) -> tuple[Look, tuple[int, int]]:
    """What the headers of the images say, and the size (H, W) that they are given in."""
    look = look_at(sets.splits, _PROBE, config.pixel_range)
    if config.image_size is not None:
        return look, (config.image_size, config.image_size)
    return look, look.own_size or (FALLBACK_SIZE, FALLBACK_SIZE)


def _found(sets: Sets, look: Look, transform: Transform, config: DataConfig) -> Found:
    splits = []
    for role in ROLES:
        labels = sets.splits[role].labels
        counts = labels.bincount(minlength=len(sets.classes)).tolist()
        present = sum(n > 0 for n in counts)
        splits.append(SplitFound(WORDS[role], sets.sources[role], len(labels), present, counts))
    return Found(
        sets.name, splits, list(sets.classes), look.sizes, transform.size, look.in_chans, look.bits,
        look.pixel_range or (0, 255), transform.describe(config.augment), sets.left_out,
        [*sets.notes, *look.notes, *([_BALANCED] if config.sampling == "balanced" else [])],
    )  # fmt: skip


def statistics(train: Store, sets: Sets, transform: Transform) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of all training images or, of many, of some."""
    split = sets.splits["train"]
    every = len(split) * transform.in_chans * transform.size[0] * transform.size[1] <= _MOST_PIXELS
    chosen = torch.arange(len(split)) if every else split.spread(_PROBE)
    values = torch.arange(256, dtype=torch.float64) / 255
    total = torch.zeros(3, transform.in_chans, dtype=torch.float64)  # number, sum, sum of squares
    for images, _ in train.raw([Batch(indices, slice(None)) for indices in chosen.split(100)]):
        for channel, pixels in enumerate(images[:, : transform.in_chans].unbind(1)):
            if images.dtype == torch.uint8:
                counts = pixels.flatten().bincount(minlength=256).double()
                total[:, channel] += torch.stack([counts.sum(), counts @ values, counts @ values**2])
            else:
                x = pixels.double()
                total[:, channel] += torch.stack(
                    [torch.tensor(x.numel()).double(), x.sum(), x.square().sum()]
                )
    mean = total[1] / total[0]
    variance = (total[2] / total[0] - mean**2).clamp(min=0)
    return tuple(mean.tolist()), tuple(variance.sqrt().clamp(min=1 / 255).tolist())
