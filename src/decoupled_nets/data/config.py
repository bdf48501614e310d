"""What the user says about the data."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class DataConfig:
    """Which images to use, and how many of them.

    Args:
        data: `sample`, `synthetic`, a folder of class folders, a folder, file or glob of Parquet files, or
            the name of a torchvision data set such as `cifar10`.
        data_root: Folder of the torchvision data sets; without it the environment variable DECOUPLED_DATA.
        download: Download a torchvision data set that is not there.
        image_size: Height and width in pixels; without it the images' own size when all are alike and fit in
            memory, else 224.
        train_size: Use only so many training images, as many of each class as possible.
        test_size: Use only so many test images, as many of each class as possible.
        augment: Shift (or crop) and mirror the training images at random.
        mirror: Whether augmentation may mirror (digits of named data sets it never does).
        workers: Processes that decode the images of a set that does not fit in memory.
        memory: Gibibytes of pixels up to which a set is held in memory, per training process.

    Raises:
        ValueError: a size that is not positive, or a negative number of workers or gibibytes.
    """

    data: str = "sample"
    data_root: str | None = None
    download: bool = False
    image_size: int | None = None
    train_size: int | None = None
    test_size: int | None = None
    augment: bool = True
    mirror: bool = True
    workers: int = min(4, os.cpu_count() or 1)
    memory: float = 2.0

    def __post_init__(self) -> None:
        for name in ("image_size", "train_size", "test_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; needed: at least 1, or None")
        for name in ("workers", "memory"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; needed: 0 or more")
