"""Attacks on networks that tell bright images from dark ones, as they are recorded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from decoupled_nets.evaluation.attack import Attacks
from decoupled_nets.evaluation.attack_config import AttackConfig
from decoupled_nets.evaluation.record import Record, write_record
from decoupled_nets.robustness import evaluate


def config(**options) -> AttackConfig:
    """A quick attack on a few images."""
    return AttackConfig.of(**{"suite": "fgsm", "images": 12, "accelerator": "cpu", **options})


class Flat(nn.Module):
    """Says class 0 or 1 by the mean of an image, at a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, images):
        rise = images.mean((1, 2, 3)) - self.threshold
        return torch.stack([-rise, rise], 1)


def shades(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey images from black to white, and whether they are bright."""
    grey = torch.linspace(0.0, 1.0, n)
    return grey[:, None, None, None].expand(n, 1, 4, 4).contiguous(), (grey > 0.5).long()


def recorded(folder: Path, threshold: float, label: str, seed: int | None, **more) -> Record:
    images, labels = shades()
    found = evaluate(Flat(threshold).eval(), images, labels, "linf:0.1", "fgsm")
    found.checks = []
    known = {
        "label": label if seed is None else f"{label}, seed {seed}", "group": label, "operator": label,
        "seed_of_network": seed, "place": label, "digest": "", "model": "cnn9", "batch_norm": True,
        "relu": True, "parameters": 1,
        "training": {"epochs": 4, "train_accuracy": 0.9, "flattened": True, "words": "4: flattened"},
    }  # fmt: skip
    return write_record(folder / f"{label}-{seed}", found, images, labels, {**known, **more}, found.distance)


def attacks(records: list[Record], **changes) -> Attacks:
    data = {
        "name": "shades",
        "digest": "",
        "classes": ["dark", "bright"],
        "image_size": [4, 4],
        "in_chans": 1,
        "images": 40,
    }
    return Attacks(config(threat="linf:0.1", **changes), ["a"], records, None, data, [])
