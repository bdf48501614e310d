"""Accuracy under an attack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attacks import Attack


def surviving(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, radius: float, *, batch_size: int = 250
) -> int:
    """How many images are classified correctly as they are and attacked; puts `model` into eval mode."""
    model.eval()
    count = 0
    for some, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        right = _predict(model, some) == truth
        some, truth = some[right], truth[right]
        if len(truth):
            count += int((_predict(model, attack(model, some, truth, radius)) == truth).sum())
    return count


@torch.no_grad()
def _predict(model: nn.Module, images: Tensor) -> Tensor:
    return model(images).argmax(1)
