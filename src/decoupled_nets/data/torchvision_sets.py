"""Data sets that torchvision knows by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import datasets

from .collection import Collection, Labels, Part
from .split import ArrayReader


@dataclass(frozen=True)
class _Set:
    make: Callable[..., Any]
    mirror: bool = True
    by_split: bool = False  # the constructor takes split="train", not train=True


SETS = {
    "mnist": _Set(datasets.MNIST, mirror=False),
    "fashion_mnist": _Set(datasets.FashionMNIST),
    "kmnist": _Set(datasets.KMNIST, mirror=False),
    "cifar10": _Set(datasets.CIFAR10),
    "cifar100": _Set(datasets.CIFAR100),
    "svhn": _Set(datasets.SVHN, mirror=False, by_split=True),
    "stl10": _Set(datasets.STL10, by_split=True),
}


def load_torchvision(name: str, root: Path, download: bool) -> Collection:
    """Load a torchvision data set that keeps its images in memory.

    Raises:
        FileNotFoundError: it is not under `root` and `download` is False.
    """
    known = SETS[name]

    def part(which: str) -> Part:
        how = {"split": which} if known.by_split else {"train": which == "train"}
        try:
            found = known.make(str(root), download=download, **how)
        except RuntimeError as error:
            raise FileNotFoundError(
                f"{name} is not under {root} ({error}); needed: its files as torchvision stores them,"
                f" {root / name}/*.parquet, or download=True"
            ) from error
        labels = torch.as_tensor(found.labels if known.by_split else found.targets).long()
        classes = getattr(found, "classes", None) or [str(label) for label in range(int(labels.max()) + 1)]
        reader = ArrayReader(_channels_first(found.data, known))
        return Part(
            which, f"torchvision's {which} split", reader, Labels(labels, tuple(classes), declared=True)
        )

    return Collection(name, [part("train"), part("test")], mirror=known.mirror)


def _channels_first(data: Any, known: _Set) -> torch.Tensor:
    pixels = torch.as_tensor(np.asarray(data))
    if pixels.ndim == 3:
        return pixels.unsqueeze(1)
    return pixels if known.by_split else pixels.permute(0, 3, 1, 2).contiguous()
