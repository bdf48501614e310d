"""Generated scenes for segmentation, which need nothing: discs and boxes on a striped ground."""

from __future__ import annotations

import torch
from torch import Tensor

from .collection import Collection, Labels, Part
from .sampling import generator
from .split import ArrayReader

_SHADES = torch.tensor([[0.35, 0.4, 0.45], [0.8, 0.45, 0.3], [0.3, 0.65, 0.4]])  # ground, disc, box


def scenes() -> Collection:
    """Generate 256 + 64 RGB images, 32×48, with a mask each: ground, disc, box."""
    parts = [_part("train", 256), _part("test", 64)]
    return Collection("synthetic", parts, pixel_classes=("ground", "disc", "box"))


def _part(name: str, size: int) -> Part:
    rng = generator("scenes", name)
    masks = torch.stack([_mask(rng) for _ in range(size)])
    light = 0.75 + 0.5 * torch.rand(size, 1, 1, 1, generator=rng)
    noise = 0.1 * torch.randn(size, 3, *masks.shape[1:], generator=rng)
    pixels = _SHADES[masks.long()].permute(0, 3, 1, 2) * light + noise
    reader = ArrayReader((pixels.clamp(0, 1) * 255).round().byte())
    labels = Labels(torch.zeros(size, dtype=torch.int64), ("images",), declared=True)
    return Part(name, f"generated {name} split", reader, labels, masks=ArrayReader(masks[:, None]))


def _mask(rng: torch.Generator, height: int = 32, width: int = 48) -> Tensor:
    """One to three discs and boxes, the later ones in front: (H, W), uint8."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    mask = torch.zeros(height, width, dtype=torch.uint8)
    for _ in range(int(torch.randint(1, 4, (), generator=rng))):
        y, x, reach, kind = (torch.rand(4, generator=rng) * torch.tensor([height, width, 6.0, 2.0])).tolist()
        down, across = (rows - y).abs(), (columns - x).abs()
        inside = (
            down**2 + across**2 < (4 + reach) ** 2 if kind < 1 else (down < 3 + reach) & (across < 4 + reach)
        )
        mask[inside] = 1 if kind < 1 else 2
    return mask
