"""What the user says about the data."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Literal

from .._options import check_choices
from ..models.joint import MARGIN
from ..ops.resample import Degradation


@dataclass(frozen=True)
class DataConfig:
    """Which images to use, how many of them, and which of them for what.

    Args:
        data: `sample`, `synthetic`, a folder of images, an archive of one, Parquet files (a file, folder or
            glob), a table of image files (.csv, .jsonl), or the name of a torchvision data set (`cifar10`).
        data_root: Folder of the torchvision data sets; without it the environment variable DECOUPLED_DATA.
        download: Download a torchvision data set, or a network's weights, if they are not there.
        train_split: Name of the split to train on, as found; `.`: the folder itself, whatever its folders are
            called.
        val_split: Name of the split that chooses the best epoch, as found.
        test_split: Name of the split that is read once, at the end, as found.
        image_column: Column of the images, in Parquet files and tables.
        label_column: Column of the labels, in Parquet files and tables.
        mask_column: Column of the masks, in Parquet files (segmentation).
        class_names: Names of the classes of masks, from 0, separated by commas; or a file with one a line
            (segmentation). Without it `classes.txt` beside the images, else the values in the masks.
        void: Value in a mask of pixels that belong to no class (segmentation); 255 in any case, unless the
            masks hold 0 and 255 only.
        pixel_range: Values of 16- and 32-bit pixels that become black and white; without it the smallest and
            the largest of the training images.
        image_size: Height and width in pixels; without it the images' own size when all are alike and no
            larger than 512, else 224.
        train_size: Number of training images to use, spread evenly over the classes; without it, all.
        val_size: Number of validation images to use; if there is no validation split, the number that is cut
            out of the training images.
        test_size: Number of test images to use, likewise.
        split_seed: Seed of the random choice of images that are cut out of the training images.
        augment: Crop (or shift) and mirror the training images at random.
        mirror: Whether augmentation may mirror; named data sets of digits are never mirrored.
        color_jitter: Change brightness, contrast and saturation of training images by up to so much of
            themselves (classification); 0 none.
        randaugment: Magnitude, from 1 to 10, of the two operations of RandAugment that each training image
            goes through (classification); 0 none.
        random_erasing: Probability that a rectangle of a training image is blackened (classification).
        sampling: `all`: an epoch has each training image once; `balanced`: as many images of each class,
            those of rare classes several times (classification).
        scale: By how much depth maps are made smaller: 4, 8, 16, or another whole number from 2 on (depth).
        degradation: How they are: `pick` takes one pixel of scale × scale, at offset (scale − 1)//2 (PAC-Net,
            DDF); `bicubic` reduces as Pillow does (DKN and later papers); `area` takes means (depth).
        crop: Height and width of the parts of images that a network is trained on (depth).
        crops: How many parts of each training image an epoch has (depth).
        tile: Height and width of the parts that validation and test images are seen in, in pixels; without it
            they are seen whole. For images that are too large for the memory (depth).
        workers: Processes that decode the images of a set that does not fit in memory.
        memory: Gibibytes of pixels up to which a set is held in memory, per training process.

    Raises:
        ValueError: there is no such choice, a size is not positive, a tile is no multiple of the scale or
            smaller than its margin, a number of workers or gibibytes is negative, the end of a range is not
            above its start, or augmentation is out of range or without `augment`.
    """

    data: str = "sample"
    data_root: str | None = None
    download: bool = False
    train_split: str | None = None
    val_split: str | None = None
    test_split: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    mask_column: str | None = None
    class_names: str | None = None
    void: int | None = None
    pixel_range: tuple[float, float] | None = None
    image_size: int | None = None
    train_size: int | None = None
    val_size: int | None = None
    test_size: int | None = None
    split_seed: int = 0
    augment: bool = True
    mirror: bool = True
    color_jitter: float = 0.0
    randaugment: int = 0
    random_erasing: float = 0.0
    sampling: Literal["all", "balanced"] = "all"
    scale: int = 4
    degradation: Degradation = "pick"
    crop: int = 256
    crops: int = 1
    tile: int | None = None
    workers: int = min(4, os.cpu_count() or 1)
    memory: float = 2.0

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("image_size", "train_size", "val_size", "test_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} = {value} received; needed: at least 1")
        for name, least in (("scale", 2), ("crop", 1), ("crops", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: at least {least}")
        least = MARGIN * self.scale
        if self.tile is not None and (self.tile % self.scale or self.tile < least):
            raise ValueError(
                f"tile = {self.tile} received for scale = {self.scale}; needed: a multiple of the scale,"
                f" {least} or more, which is the margin around it"
            )
        for name in ("workers", "memory"):
            if not getattr(self, name) >= 0:  # not a number is neither
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: 0 or more")
        self._check_augmentation()
        if self.pixel_range is not None:
            # A list where it comes from YAML.
            low, high = self.pixel_range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(
                    f"pixel_range = {low}, {high} received; needed: two finite numbers, the second above "
                    "the first"
                )
            object.__setattr__(self, "pixel_range", (float(low), float(high)))

    def _check_augmentation(self) -> None:
        for name, most in (("color_jitter", 1), ("randaugment", 10), ("random_erasing", 1)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise ValueError(f"{name} = {value} received; needed: 0 to {most}")
            if value and not self.augment:
                raise ValueError(f"{name} = {value} and augment = False received; needed: augment = True")
