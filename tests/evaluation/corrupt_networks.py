"""Networks of a moment's training on grey and on colour stripes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from decoupled_nets.data import DataConfig
from decoupled_nets.evaluation.targets import Target
from decoupled_nets.training import TrainConfig
from decoupled_nets.training.run import train

SIZES = {"train_size": 16, "val_size": 8, "test_size": 24, "image_size": 16, "workers": 0}


def stripes(**options) -> DataConfig:
    """24 test images of stripes, 16 × 16, of four classes."""
    return DataConfig(**{"data": "synthetic", **SIZES, **options})


def trained(folder: Path, operator: str = "conv", seed: int = 0, **options) -> Path:
    """The folder of a run of one epoch."""
    known = {
        "data": "synthetic",
        **SIZES,
        "image_size": 25,
        "width": 0.03,
        "epochs": 1,
        "batch_size": 8,
        "accelerator": "cpu",
    }
    train(TrainConfig.of(operator=operator, seed=seed, **{**known, **options}), folder, quiet=True)
    return folder


class Reader(nn.Module):
    """Says a class by the mean of an image: known without training, and any corruption of means shows."""

    def __init__(self, classes: int, shift: float) -> None:
        super().__init__()
        self.classes, self.shift = classes, shift

    def forward(self, images: Tensor) -> Tensor:
        place = images.mean((1, 2, 3))[:, None] * self.classes + self.shift
        return -(place - torch.arange(self.classes) - 0.5).abs()


def reader(label: str, shift: float = 0.0, seed: int | None = None) -> Target:
    """A target without a file; those of one name and several seeds belong together."""
    name = label if seed is None else f"{label}, seed {seed}"
    return Target(
        label, name, f"digest of {name}", lambda data: Reader(len(data.classes), shift), label, seed
    )
