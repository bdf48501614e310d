"""What the tests of layouts share: pictures, reading a folder, and what was found there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.data.collection import Collection, Labels, Part
from decoupled_nets.data.split import ArrayReader


def picture(seed: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Image.Image:
    """Random pixels; size is (H, W)."""
    shape = size if mode == "L" else (*size, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def load(root, **options):
    return load_data(DataConfig(str(root), workers=0, **options))


def sizes(data):
    return data.train_size, data.val_size, data.test_size


def left_out(data):
    return {thing.reason: thing.count for thing in data.found.left_out}


def in_each(*splits):
    return [f"{split}/{name}" for split in splits for name in ("cat", "dog")]


def write_table(path: Path, rows: dict[str, object], head: str = "file_name,label"):
    path.write_text("\n".join([head, *(f"{name},{label}" for name, label in rows.items())]) + "\n")


def collection(*names, counts=(50, 30)):
    codes = torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])
    labels = Labels(codes, tuple("ab"[: len(counts)]))
    parts = [
        Part(name, f"{name}/", ArrayReader(torch.zeros(len(codes), 1, 2, 2).byte()), labels) for name in names
    ]
    return Collection("set", parts)
