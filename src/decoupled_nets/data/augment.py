"""Stronger augmentation of single images, by torchvision, behind the crop and the mirroring."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from .config import DataConfig

_OPERATIONS = 2  # of RandAugment, for each image
LEVELS = 10  # the papers' scale of magnitudes; torchvision's is in bins, this many and one


class Strong(NamedTuple):
    """What each training image goes through.

    Attributes:
        words: What it does.
        transform: Of torchvision.transforms.v2: takes an image (C, H, W).
    """

    words: str
    transform: nn.Module

    def each(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Images (B, C, H, W), each transformed by what its own seed draws, (B,) int64."""
        # Transforms of torchvision draw from the global generator.
        with torch.random.fork_rng(devices=[]):
            return torch.stack(
                [self._one(image, seed) for image, seed in zip(images, seeds.tolist(), strict=True)]
            )

    def _one(self, image: Tensor, seed: int) -> Tensor:
        torch.default_generator.manual_seed(seed)
        made: Tensor = self.transform(image)
        return made


def strong(config: DataConfig) -> Strong | None:
    """The transforms that a configuration asks for; None: none."""
    words, steps = [], list[nn.Module]()
    if config.color_jitter:
        words.append(f"brightness, contrast and saturation by up to {config.color_jitter:g}")
        steps.append(v2.ColorJitter(*[config.color_jitter] * 3))
    if config.randaugment:
        words.append(f"RandAugment ({_OPERATIONS} operations of magnitude {config.randaugment} of {LEVELS})")
        steps.append(v2.RandAugment(_OPERATIONS, config.randaugment, LEVELS + 1))
    if config.random_erasing:
        words.append(f"a rectangle blackened with probability {config.random_erasing:g}")
        steps.append(v2.RandomErasing(config.random_erasing))
    return Strong(", ".join(words), v2.Compose(steps)) if steps else None
