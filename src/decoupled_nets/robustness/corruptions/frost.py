"""Frost-like: the original lays photographs of frost over the image, which cannot be given away with this."""

from __future__ import annotations

import torch
from torch import Tensor

from ..draws import Draws
from . import corruption
from ._filters import motion_blurred
from ._levels import colour, mean
from ._plasma import plasma
from .motion import angles

#: Mean colour, and deviation of the brightness, of the photographs of the original.
KINDS = (((0.30, 0.58, 0.65), 0.06), ((0.79, 0.81, 0.84), 0.08), ((0.79, 0.81, 0.84), 0.08),
         ((0.54, 0.60, 0.65), 0.11), ((0.44, 0.48, 0.53), 0.16))  # fmt: skip
_DIRECTIONS = 6
_CRYSTALS = 0.03  # share of the pixels in which a needle begins
_NEEDLES = 0.7  # their share in the pattern; the rest are clouds


@corruption(
    "frost", "Frost-like", 9, group="weather",
    cifar=((1, 0.2, 3), (1, 0.3, 3), (0.9, 0.4, 3), (0.85, 0.4, 3), (0.75, 0.45, 3)),
    imagenet=((1, 0.4, 14), (0.8, 0.6, 14), (0.7, 0.7, 14), (0.65, 0.7, 14), (0.6, 0.75, 14)),
)  # fmt: skip
def frost(images: Tensor, layers: tuple[float, float, int], draws: Draws) -> Tensor:
    """The image and a texture of ice needles, by those weights.

    The weights are the published ones. The texture is drawn: needles in a few directions over clouds, with
    the colours and the contrasts of the five photographs, one of them for each image. Numbers under this
    corruption compare with each other, not with those of the published data sets. The last constant is half
    the length of a needle in pixels; CIFAR-10-C's photographs were made five times smaller.
    """
    scene, ice, radius = layers
    pattern = _pattern(images, radius, draws)
    tints = torch.stack([colour(*tint, images) for tint, _ in KINDS])
    contrasts = images.new_tensor([contrast for _, contrast in KINDS])
    kind = draws.integers(len(KINDS))[:, None].flatten().to(images.device)
    texture = tints[kind] + contrasts[kind][:, None, None, None] * pattern
    return scene * images + ice * texture.clamp(0, 1)


def _pattern(images: Tensor, radius: int, draws: Draws) -> Tensor:
    """Needles over clouds, (B, 1, H, W), with mean 0 and deviation 1 in each image."""
    shape = (1, *images.shape[2:])
    needles = torch.zeros_like(images[:, :1])
    for _ in range(_DIRECTIONS):
        seeds = draws.uniform(shape, images)
        lit = torch.where(seeds < _CRYSTALS, 1 - seeds / _CRYSTALS, 0)
        needles = torch.maximum(needles, motion_blurred(lit, radius, radius, angles(0, 360, images, draws)))
    clouds = plasma(images, 2, draws).to(images.dtype)
    return _standard(_NEEDLES * _standard(needles) + (1 - _NEEDLES) * _standard(clouds))


def _standard(values: Tensor) -> Tensor:
    centred = values - mean(values).to(values.dtype)
    deviation = mean(centred.square()).sqrt().clamp(min=1e-6)
    return centred / deviation.to(values.dtype)
