"""Fog."""

from __future__ import annotations

from torch import Tensor

from ..draws import Draws
from . import corruption
from ._plasma import plasma


@corruption(
    "fog", "Fog", 10, group="weather",
    cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
)  # fmt: skip
def fog(images: Tensor, density: tuple[float, float], draws: Draws) -> Tensor:
    """Clouds of that density added, the roughness of which falls by that factor a scale; then darkened back.

    The largest value of an image stays the largest possible one; in a black image, fog is black.
    """
    thick, decay = density
    clouds = plasma(images, decay, draws).to(images.dtype)
    bright = images.amax((1, 2, 3), keepdim=True)
    return (images + thick * clouds) * (bright / (bright + thick))
