"""Data that needs nothing: the sample that ships with the package, and generated images."""

from __future__ import annotations

import math
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from .collection import Collection, Labels, Part
from .sampling import generator
from .split import ArrayReader


def fashion_mnist_sample() -> Collection:
    """Load the embedded sample of Fashion-MNIST: 10,000 + 2,000 28×28 grey images of ten classes."""
    with files(__package__).joinpath("sample", "fashion_mnist.npz").open("rb") as file:
        arrays = dict(np.load(file, allow_pickle=False))

    classes = tuple(str(name) for name in arrays["classes"])

    def part(name: str) -> Part:
        pixels = torch.from_numpy(arrays[f"{name}_images"]).unsqueeze(1)
        labels = torch.from_numpy(arrays[f"{name}_labels"]).long()
        return Part(
            name, f"embedded {name} split", ArrayReader(pixels), Labels(labels, classes, declared=True)
        )

    return Collection("Fashion-MNIST sample", [part("train"), part("test")])


def synthetic() -> Collection:
    """Generate 512 + 128 RGB images, 32×32: noisy stripes whose direction and colour say the class."""
    # A rising stripe in the mirror is a falling one.
    return Collection("synthetic", [_stripes("train", 512), _stripes("test", 128)], mirror=False)


def _stripes(name: str, size: int, side: int = 32) -> Part:
    rng = generator("synthetic", name)
    labels = torch.arange(size) % 4
    angle = labels * (math.pi / 4)
    phase = torch.rand(size, generator=rng) * 2 * math.pi
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    position = angle.sin()[:, None, None] * x + angle.cos()[:, None, None] * y
    wave: Tensor = (position * (2 * math.pi / 5) + phase[:, None, None]).sin()
    colour = torch.tensor([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0], [0.8, 0.8, 0.4]])[labels]
    noise = torch.randn(size, 3, side, side, generator=rng)
    pixels = 0.5 + 0.25 * wave[:, None] * colour[:, :, None, None] + 0.12 * noise
    reader = ArrayReader((pixels.clamp(0, 1) * 255).round().byte())
    classes = ("horizontal", "rising", "vertical", "falling")
    return Part(name, f"generated {name} split", reader, Labels(labels, classes, declared=True))
