"""Brightness, contrast and, held back, saturation."""

from __future__ import annotations

import torch
from torch import Tensor

from ..draws import Draws
from . import corruption
from ._levels import mean


@corruption(
    "brightness", "Brightness", 11, group="weather",
    cifar=(0.05, 0.1, 0.15, 0.2, 0.3), imagenet=(0.1, 0.2, 0.3, 0.4, 0.5),
)  # fmt: skip
def brightness(images: Tensor, more: float, draws: Draws) -> Tensor:
    """So much more value (the largest channel), with hue and saturation kept; grey: the pixel itself."""
    value = images.amax(1, keepdim=True)
    brighter = (value + more).clamp(max=1)
    return torch.where(value > 0, images * (brighter / value), brighter)


@corruption(
    "contrast", "Contrast", 12, group="digital",
    cifar=(0.75, 0.5, 0.4, 0.3, 0.15), imagenet=(0.4, 0.3, 0.2, 0.1, 0.05),
)  # fmt: skip
def contrast(images: Tensor, share: float, draws: Draws) -> Tensor:
    """That share of the distance from each channel's mean."""
    middle = mean(images).to(images.dtype)
    return (images - middle) * share + middle


@corruption(
    "saturate", "Saturation", 19, group="digital", held_back=True, grey=False,
    cifar=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
)  # fmt: skip
def saturate(images: Tensor, change: tuple[float, float], draws: Draws) -> Tensor:
    """Saturation times a number plus another, with hue and value kept; nothing happens to grey images.

    A grey pixel of a colour image has the hue of red, as in the original, and turns to it where something is
    added.
    """
    if images.shape[1] == 1:
        return images
    value, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    spread = value - least
    grey = spread == 0
    # How far each channel lies between the largest (0) and the smallest (1) is the hue.
    hue = torch.where(
        grey, images.new_tensor([0, 1, 1])[:, None, None], (value - images) / spread.clamp(min=1e-6)
    )
    saturation = torch.where(grey, 0, spread / value.clamp(min=1e-6))
    return value * (1 - hue * (saturation * change[0] + change[1]).clamp(0, 1))
