"""Spatter: drops of water, at higher severities mud."""

from __future__ import annotations

import torch
from torch import Tensor

from ..draws import Draws
from . import corruption
from ._edges import distance_to, edges, equalised
from ._filters import filtered, gaussian
from ._levels import colour, whole_levels

_WATER = (175 / 255, 238 / 255, 238 / 255)
_MUD = (63 / 255, 42 / 255, 20 / 255)
_FARTHEST = 20
_RELIEF = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))


@corruption(
    "spatter", "Spatter", 18, group="weather", held_back=True,
    cifar=((0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0), (0.65, 0.3, 1, 0.69, 0.5, 0),
           (0.65, 0.1, 0.7, 0.69, 0.6, 1), (0.65, 0.1, 0.5, 0.68, 0.6, 1)),
    imagenet=((0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0), (0.65, 0.3, 2, 0.68, 0.5, 0),
              (0.65, 0.3, 1, 0.65, 1.5, 1), (0.67, 0.4, 1, 0.65, 1.5, 1)),
)  # fmt: skip
def spatter(images: Tensor, drops: tuple[float, float, float, float, float, int], draws: Draws) -> Tensor:
    """Drops where smoothed noise is high.

    The constants: mean and deviation of the noise, the deviation that smooths it, the value below which there
    are no drops, the strength of water or the blur of mud, and 0 for water or 1 for mud.
    """
    mean, deviation, sigma, least, strength, mud = drops
    noise = mean + deviation * draws.normal((1, *images.shape[2:]), images)
    liquid = gaussian(noise, sigma)
    liquid = torch.where(liquid < least, 0, liquid)
    if mud:
        cover = gaussian((liquid > least).to(images.dtype), strength)
        cover = torch.where(cover < 0.8, 0, cover)
        return images * (1 - cover) + colour(*_MUD, images) * cover
    return images + colour(*_WATER, images) * (strength * _water(liquid))


def _water(liquid: Tensor) -> Tensor:
    """How bright drops are, (B, 1, H, W), at most 1: their relief, by the distance to the nearest edge."""
    depth = whole_levels(liquid).to(liquid.dtype)
    box = liquid.new_full((3, 3), 1 / 9)
    far = filtered(distance_to(edges(depth, 50, 150), _FARTHEST), box)
    even = equalised(far.floor())
    relief = filtered(even, liquid.new_tensor(_RELIEF)).clamp(0, 255)
    bright = depth * filtered(relief, box).round()
    return bright / bright.amax((1, 2, 3), keepdim=True).clamp(min=1e-6)
