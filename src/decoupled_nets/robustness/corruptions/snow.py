"""Snow."""

from __future__ import annotations

import torch
from torch import Tensor

from ..draws import Draws
from . import corruption
from ._filters import motion_blurred, zoomed
from ._levels import levels_of, luma
from .motion import angles


@corruption(
    "snow", "Snow", 8, group="weather",
    cifar=((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
           (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
           (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)),
    imagenet=((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
              (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
)  # fmt: skip
def snow(images: Tensor, fall: tuple[float, float, float, float, int, float, float], draws: Draws) -> Tensor:
    """Flakes that fall, and the scene whitened.

    The constants: mean and deviation of the noise that flakes are made of, how it is enlarged, the value
    below which there is none, radius and deviation of their fall, and the share that the scene keeps.
    """
    mean, deviation, zoom, least, radius, sigma, keep = fall
    noise = mean + deviation * draws.normal((1, *images.shape[2:]), images)
    flakes = zoomed(noise, zoom)
    flakes = levels_of(torch.where(flakes < least, 0, flakes))
    flakes = motion_blurred(flakes, radius, sigma, angles(-135, -45, images, draws))
    flakes = (flakes * 255).round() / 255  # as ImageMagick does
    white = torch.maximum(images, 1.5 * luma(images) + 0.5)
    return keep * images + (1 - keep) * white + flakes + flakes.flip(2, 3)
