"""Pixels of 8 bits, and means that do not depend on the batch."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_SIDE = 8
#: The original truncates float64 to 8 bits; float32 may lie this part of a level below where that lies.
_TOLERANCE = 2.0**-10
#: Luma of red, green and blue (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


def to_levels(images: Tensor) -> Tensor:
    """The nearest multiples of 1/255, float32: what an image of 8 bits has."""
    return (images.float() * 255).round() / 255


def levels_of(images: Tensor) -> Tensor:
    """What is left of [0, 1] when a result is truncated to 8 bits, as ``np.uint8`` does."""
    return whole_levels(images).to(torch.float32) / 255


def whole_levels(images: Tensor) -> Tensor:
    """The same as whole numbers, 0 to 255."""
    return (images.clamp(0, 1) * 255 + _TOLERANCE).floor().to(torch.int64)


def mean(values: Tensor) -> Tensor:
    """Mean over height and width, (B, C, H, W) to (B, C, 1, 1) float64, the same bits in any batch.

    A sum of floats depends on how it is shared out; one of whole numbers, 2^-32 each, does not.
    """
    whole = (values.double() * 2.0**32).round().to(torch.int64)
    return whole.sum((2, 3), keepdim=True).double() / (2.0**32 * values[0, 0].numel())


def luma(images: Tensor) -> Tensor:
    """(B, C, H, W) to (B, 1, H, W); one channel is its own."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, 1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def colour(red: float, green: float, blue: float, images: Tensor) -> Tensor:
    """A colour, in [0, 1], for the channels of `images`: (C, 1, 1); its luma for one channel."""
    three = (red, green, blue)
    own = three if images.shape[1] == 3 else (sum(w * c for w, c in zip(LUMA, three, strict=True)),)
    return images.new_tensor(own)[:, None, None]
