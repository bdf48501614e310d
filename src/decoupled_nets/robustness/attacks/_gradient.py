"""What gradient attacks share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the cross-entropy by the images."""
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(model(images).float(), labels, reduction="sum")
        return torch.autograd.grad(loss, images)[0]


def check_radius(radius: float) -> None:
    """Refuse what is no change of a pixel in [0, 1].

    Raises:
        ValueError: `radius` is outside [0, 1].
    """
    if not 0 <= radius <= 1:
        raise ValueError(f"radius = {radius} received; needed: a number in [0, 1], as pixels are")
