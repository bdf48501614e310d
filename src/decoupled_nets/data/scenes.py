"""Generated scenes, which need nothing: discs and boxes on a ground, with a class or a depth a pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from .collection import Collection, Labels, Part
from .depth_values import DepthArrays
from .sampling import generator
from .split import ArrayReader

_SHADES = torch.tensor([[0.35, 0.4, 0.45], [0.8, 0.45, 0.3], [0.3, 0.65, 0.4]])  # ground, disc, box


def scenes() -> Collection:
    """Generate 256 + 64 RGB images, 32×48, with a mask each: ground, disc, box."""
    parts = [_part("train", 256), _part("test", 64)]
    return Collection("synthetic", parts, pixel_classes=("ground", "disc", "box"))


def depth_scenes() -> Collection:
    """Generate 96 + 24 RGB images, 64×80, with a depth map each: discs and boxes before a slanted wall."""
    return Collection("generated scenes", [_depth_part("train", 96), _depth_part("test", 24)])


def _depth_part(name: str, size: int) -> Part:
    rng = generator("depth scenes", name)
    made = [_depth(rng) for _ in range(size)]
    pixels = torch.stack([image for image, _ in made])
    noise = 0.02 * torch.randn(pixels.shape, generator=rng)
    reader = ArrayReader(((pixels + noise).clamp(0, 1) * 255).round().byte())
    labels = Labels(torch.zeros(size, dtype=torch.int64), ("images",), declared=True)
    maps = DepthArrays(torch.stack([depth for _, depth in made]))
    return Part(name, f"generated {name} split", reader, labels, masks=maps)


def _depth(rng: torch.Generator, height: int = 64, width: int = 80) -> tuple[Tensor, Tensor]:
    """An image (3, H, W) and its depth (H, W), 20 to 250: colours change at its edges, and elsewhere."""
    rows, columns = torch.arange(height)[:, None] / height, torch.arange(width)[None] / width
    slant = 40 * (torch.rand(2, generator=rng) - 0.5)
    depth = 220 + slant[0] * rows + slant[1] * columns
    image = _painted(rng, height, width)
    for _ in range(int(torch.randint(4, 9, (), generator=rng))):
        y, x, reach, kind, near, tilt = torch.rand(6, generator=rng).tolist()
        down, across = (rows - y) * height, (columns - x) * width
        side = 5 + 10 * reach
        disc = down**2 + across**2 < side**2
        inside = disc if kind < 0.5 else (down.abs() < side) & (across.abs() < side)
        surface = 20 + 150 * near + 0.5 * (tilt - 0.5) * down
        inside = inside & (surface < depth)
        depth = torch.where(inside, surface, depth)
        image = torch.where(inside, _painted(rng, height, width), image)
    return image, depth.float()


def _painted(rng: torch.Generator, height: int, width: int) -> Tensor:
    """Stripes of two colours, (3, H, W)."""
    colours = torch.rand(2, 3, 1, 1, generator=rng)
    across, down, phase = (torch.rand(3, generator=rng) - 0.5).tolist()
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    share = 0.5 + 0.5 * (across * columns + down * rows + 6 * phase).sin()
    return colours[0] + share * 0.6 * (colours[1] - colours[0])


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
