"""Mixing the images of a batch: mixup and cutmix, by torchvision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from ..data.sampling import seed_of
from .optim_config import OptimConfig


class Mixing:
    """Mixes the images of a batch with each other, and their labels alike.

    What is drawn depends on the key alone; a process mixes its own part of a batch.

    Args:
        config: the α of mixup and of cutmix.
        classes: how many there are.
    """

    def __init__(self, config: OptimConfig, classes: int) -> None:
        kinds = ((config.mixup, v2.MixUp), (config.cutmix, v2.CutMix))
        self._ways = [kind(alpha=alpha, num_classes=classes) for alpha, kind in kinds if alpha > 0]

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._ways)

    def __call__(self, images: Tensor, labels: Tensor, *key: int) -> tuple[Tensor, Any]:
        """Images (B, C, H, W) and labels (B,), to mixed images and the shares of the classes (B, K)."""
        with torch.random.fork_rng(devices=[]):  # the transforms draw from the processor's global generator
            torch.default_generator.manual_seed(seed_of("mix", *key))
            way = self._ways[int(torch.randint(len(self._ways), ()))]
            return way(images, labels)
