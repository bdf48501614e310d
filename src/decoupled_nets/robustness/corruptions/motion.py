"""Motion blur."""

from __future__ import annotations

import torch
from torch import Tensor

from ..draws import Draws
from . import corruption
from ._filters import motion_blurred


@corruption(
    "motion_blur", "Motion blur", 6, group="blur",
    cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
)  # fmt: skip
def motion_blur(images: Tensor, motion: tuple[int, float], draws: Draws) -> Tensor:
    """The image moved in a direction within 45 degrees of the horizontal; radius and deviation in pixels.

    ImageMagick's, with which the originals were made, rounds where other corruptions truncate.
    """
    degrees = angles(-45, 45, images, draws)
    return (motion_blurred(images, *motion, degrees) * 255).round() / 255


def angles(low: float, high: float, images: Tensor, draws: Draws) -> Tensor:
    """An angle for each image, (B,) float64."""
    wide = images.new_empty(0, dtype=torch.float64)
    return low + (high - low) * draws.uniform((1,), wide)[:, 0]
