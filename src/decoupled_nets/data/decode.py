"""From any image file to 8-bit grey or RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# Pillow names the byte order of 16-bit grey in the mode; "I" is what 16-bit PNG is in some of its versions.
_GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_GREY = ("1", "L", "LA", *_GREY_16)


def is_grey(image: Image.Image) -> bool:
    """Whether an image has one channel; reads the header only."""
    return image.mode in _GREY


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Convert to mode ``L`` (one channel) or ``RGB``, 8 bits each.

    16-bit grey keeps its upper 8 bits, transparent pixels become white, every other colour space becomes RGB.

    Raises:
        ValueError: floating-point pixels, whose range is unknown.
        OSError: a damaged file (from Pillow).
    """
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        image.load()
        return image
    if image.mode in _GREY_16:
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("it has floating-point pixels (mode F); needed: 8 or 16 bits per channel")
    mode = "L" if is_grey(image) else "RGB"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert(mode)
    return image.convert(mode)


def read_image(path: Path, in_chans: int, size: tuple[int, int]) -> Tensor:
    """One image file as (in_chans, H, W), float32 in [0, 1], resized to (H, W).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"image {path} does not exist")
    try:
        with Image.open(path) as image:
            mode = "L" if in_chans == 1 else "RGB"
            picture = to_grey_or_rgb(image).convert(mode).resize(size[::-1], Image.Resampling.BILINEAR)
    except OSError as error:
        raise ValueError(f"{path} is not a readable image: {error}") from error
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32) / 255)
    return pixels.view(*size, -1).permute(2, 0, 1).contiguous()
