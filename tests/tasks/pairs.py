"""Small pairs of images and depth maps, made for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from decoupled_nets.data import DataConfig, DepthData, load_depth


def depth_of(number: int, size: tuple[int, int] = (36, 44)) -> np.ndarray:
    """A slope with a step, another for each number."""
    rows, columns = np.indices(size)
    return 40.0 + rows + 2 * columns + 60 * (columns > 10 + 3 * number)


def image_of(depth: np.ndarray) -> Image.Image:
    """The image of a map: red says the depth."""
    pixels = np.full((*depth.shape, 3), 50, dtype=np.uint8)
    pixels[..., 0] = np.nan_to_num(depth).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def write_pair(
    root: Path,
    number: int,
    *,
    rgb: str = "RGB",
    depth: str = "Depth",
    names: tuple[str, str] = ("{:02}.png", "{:02}.png"),
    size: tuple[int, int] = (36, 44),
    values: np.ndarray | None = None,
) -> tuple[Path, Path]:
    """``root/RGB/00.png`` and ``root/Depth/00.png``: 8 bits, 16 if it has larger values; or .npy."""
    stored = depth_of(number, size) if values is None else values
    paths = root / rgb / names[0].format(number), root / depth / names[1].format(number)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    image_of(depth_of(number, size)).save(paths[0])
    write_map(paths[1], stored)
    return paths


def write_map(path: Path, values: np.ndarray) -> None:
    """By the name's ending."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif np.nanmax(values) > 255:
        Image.fromarray(values.astype(np.uint16)).save(path)
    else:
        Image.fromarray(values.astype(np.uint8)).save(path)


def write_set(root: Path, each: dict[str, int], **options: object) -> Path:
    """``root/<split>/RGB`` and ``root/<split>/Depth``."""
    for split, number in each.items():
        for n in range(number):
            write_pair(root / split, n, **options)  # type: ignore[arg-type]
    return root


def load(root: Path | str, **options: object) -> DepthData:
    """The set, without augmentation and in this process."""
    return load_depth(DataConfig(data=str(root), **{"workers": 0, "augment": False, **options}))  # type: ignore[arg-type]
