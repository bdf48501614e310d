"""Small sets of images and masks, made for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from decoupled_nets.data import DataConfig, ImageData, load_masks
from decoupled_nets.data.mask_transform import NONE


def mask_of(number: int, size: tuple[int, int] = (8, 12), values: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """A mask of vertical stripes, another for each number."""
    columns = (np.arange(size[1]) + number) // 4 % len(values)
    return np.broadcast_to(np.array(values, dtype=np.uint8)[columns], size).copy()


def image_of(mask: np.ndarray) -> Image.Image:
    """The image of a mask: red says the value."""
    pixels = np.full((*mask.shape, 3), 7, dtype=np.uint8)
    pixels[..., 0] = 40 * (mask % 6)
    return Image.fromarray(pixels)


def write_pair(images: Path, masks: Path, name: str, mask: np.ndarray, suffix: str = "") -> None:
    """``images/name.png`` and ``masks/name.png``."""
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    image_of(mask).save(images / f"{name}.png")
    Image.fromarray(mask).save(masks / f"{name}{suffix}.png")


def write_set(root: Path, each: dict[str, int], **options: object) -> Path:
    """``root/<split>/images`` and ``root/<split>/masks``."""
    for split, number in each.items():
        for n in range(number):
            mask = mask_of(n, **options)  # type: ignore[arg-type]
            write_pair(root / split / "images", root / split / "masks", f"{n:02}", mask)
    return root


def load(root: Path | str, **options: object) -> ImageData:
    """The set, without augmentation and in this process."""
    config = DataConfig(data=str(root), **{"workers": 0, "augment": False, **options})  # type: ignore[arg-type]
    return load_masks(config, lambda size, mirror: NONE)
