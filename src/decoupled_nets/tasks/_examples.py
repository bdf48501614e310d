"""Pictures of what networks do, small enough for a file of results."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor


class Examples(NamedTuple):
    """Examples of test images, as base64 texts of PNG files.

    Attributes:
        given: Lists of pictures that are the same for every network: the images, what is true of them.
        made: What one network makes of each.
    """

    given: dict[str, list[str]]
    made: list[str]


def picture(pixels: Tensor) -> str:
    """An image (C, H, W), pixels in [0, 1], or a mask (H, W) of classes, as base64 of a PNG file."""
    if pixels.dim() == 3:
        array = (pixels * 255).round().byte().permute(1, 2, 0).squeeze(-1).numpy()
    else:
        array = pixels.byte().numpy()
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def deep_picture(values: Tensor, low: float, high: float) -> str:
    """Values (H, W) as base64 of a PNG file of 16 bits, from `low`, 1, to `high`, 65535; 0 is NaN."""
    places = ((values - low) / max(high - low, 1e-12)).clamp(0, 1) * 65534 + 1
    file = io.BytesIO()
    Image.fromarray(places.nan_to_num(0).round().numpy().astype(np.uint16)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def pixels_of(text: str) -> Image.Image:
    """The inverse of :func:`picture`."""
    return Image.open(io.BytesIO(base64.b64decode(text)))
