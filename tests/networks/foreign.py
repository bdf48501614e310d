"""Networks of others, small and quick, and places where libraries look for weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from safetensors.torch import save_file
from torch import nn

SMALL: dict[str, Any] = {
    "data": "synthetic", "train_size": 32, "val_size": 8, "test_size": 8, "image_size": 32, "workers": 0,
    "epochs": 2, "batch_size": 8, "accelerator": "cpu",
}  # fmt: skip
#: timm's smallest residual network, which is there for tests.
TIMM = "timm:test_resnet"
CODE = """
from torch import nn

def small(num_classes, in_chans):
    return nn.Sequential(
        nn.Conv2d(in_chans, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )

def scores(num_classes, in_chans):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_chans, num_classes + 1))

def nothing(num_classes, in_chans):
    return None
"""


def write_code(folder: Path) -> Path:
    """A file with functions that make networks."""
    path = folder / "nets.py"
    path.write_text(CODE)
    return path


def in_hub_cache(
    folder: Path, repo: str, files: dict[str, Any], monkeypatch: Any, revision: str = ""
) -> None:
    """Put files where huggingface_hub finds what it has fetched before."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    place = folder / f"models--{repo.replace('/', '--')}"
    commit = revision or "0" * 40
    snapshot = place / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    for name, content in files.items():
        if name.endswith(".safetensors"):
            save_file(content, snapshot / name)
        else:
            (snapshot / name).write_text(json.dumps(content))


def drawn(network: nn.Module, seed: int = 1) -> dict[str, torch.Tensor]:
    """A state of the network's names and shapes, its numbers anew."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: value.abs() + 0.1 * torch.rand(value.shape, generator=generator)
        if value.is_floating_point()
        else value.clone()
        for name, value in network.state_dict().items()
    }
