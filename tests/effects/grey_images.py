"""Data sets of plain grey images, which tell by their shade where they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from decoupled_nets.data import DataConfig, load_data


def grey(folder: Path, shade: int, size: tuple[int, int] = (8, 8), mode: str = "L") -> Path:
    """A grey image, told by its shade; darker on the left than on the right."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(size, shade, dtype=np.uint8)
    pixels[:, 0] = 0
    Image.fromarray(pixels).convert(mode).save(folder)
    return folder


def write(root: Path, each: dict[str, int], classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """``root/<split>/<class>/<n>.png``; all shades differ."""
    shade = 10
    for split, images in each.items():
        for name in classes:
            for n in range(images):
                grey(root / split / name / f"{n:02}.png", shade)
                shade += 1
    return root


def shades(images: torch.Tensor) -> list[int]:
    """The shade of every image, wherever the dark column lies."""
    return (255 * images.flatten(1).amax(1)).round().int().tolist()


def all_of(loader) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def of(root: Path | str, role: str, **options) -> list[int]:
    data = load_data(DataConfig(str(root), workers=0, **options))
    loader = data.train_loader(1, 0) if role == "train" else getattr(data, f"{role}_loader")(64)
    return sorted(shades(all_of(loader)[0]))
