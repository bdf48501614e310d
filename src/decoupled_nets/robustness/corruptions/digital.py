"""Pixelation and JPEG, by Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..draws import Draws
from . import corruption
from ._levels import whole_levels


@corruption(
    "pixelate", "Pixelation", 14, group="digital",
    cifar=(0.95, 0.9, 0.85, 0.75, 0.65), imagenet=(0.6, 0.5, 0.4, 0.3, 0.25),
)  # fmt: skip
def pixelate(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Made smaller to that share of height and width, and as large as before again, both by boxes."""
    height, width = images.shape[2:]

    def one(image: Image.Image) -> Image.Image:
        small = image.resize((int(width * share), int(height * share)), Image.Resampling.BOX)
        return small.resize((width, height), Image.Resampling.BOX)

    return _each(images, one)


@corruption(
    "jpeg_compression", "JPEG", 15, group="digital",
    cifar=(80, 65, 58, 50, 40), imagenet=(25, 18, 15, 10, 7),
)  # fmt: skip
def jpeg_compression(images: Tensor, quality: int, draws: Draws) -> Tensor:
    """Written as JPEG of that quality and read again; one channel as grey JPEG."""

    def one(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _each(images, one)


def _each(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    pixels = whole_levels(images).to("cpu", torch.uint8).permute(0, 2, 3, 1)
    made = [np.asarray(change(Image.fromarray(p.squeeze(2).numpy()))) for p in pixels]
    values = torch.from_numpy(np.stack(made)).reshape(pixels.shape).permute(0, 3, 1, 2)
    return values.to(images.device, images.dtype) / 255
