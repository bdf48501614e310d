"""Generated scenes, which need nothing: discs and boxes, with a class or a depth a pixel, or with boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from .boxes import FIELDS, Boxes, padded
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


def scenes_with_boxes() -> tuple[Collection, tuple[str, ...]]:
    """Generate 256 + 64 RGB images, 48×72, with boxes around one to three discs and boxes that are apart."""
    parts = []
    for name, size in (("train", 256), ("test", 64)):
        rng = generator("scenes with boxes", name)
        made = [_objects(rng) for _ in range(size)]
        reader = ArrayReader(_pixels(torch.stack([mask for mask, _ in made]), rng))
        labels = Labels(torch.zeros(size, dtype=torch.int64), ("images",), declared=True)
        boxes = Boxes(padded([objects for _, objects in made] + [torch.zeros(3, FIELDS)])[:-1])
        parts.append(Part(name, f"generated {name} split", reader, labels, boxes=boxes))
    return Collection("synthetic", parts), ("disc", "box")


def _objects(rng: torch.Generator, height: int = 48, width: int = 72) -> tuple[Tensor, Tensor]:
    """A mask (H, W), one object in each of one to three thirds, and what is known of them (n, 7)."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    mask, objects = torch.zeros(height, width, dtype=torch.uint8), []
    third = width // 3
    for place in torch.randperm(3, generator=rng)[: int(torch.randint(1, 4, (), generator=rng))].tolist():
        down, across, y, x = torch.rand(4, generator=rng).tolist()
        kind = int(torch.randint(2, (), generator=rng))
        high, wide = 5 + 5.5 * down, 5 + 5.5 * across
        wide = high if kind == 0 else wide
        cy, cx = high + y * (height - 2 * high), place * third + wide + x * (third - 2 * wide)
        dy, dx = (rows + 0.5 - cy).abs() / high, (columns + 0.5 - cx).abs() / wide
        inside = dy**2 + dx**2 < 1 if kind == 0 else (dy < 1) & (dx < 1)
        mask[inside] = 1 + kind
        ys, xs = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
        corners = [float(xs[0]), float(ys[0]), float(xs[-1]) + 1, float(ys[-1]) + 1]
        objects.append([*corners, float(kind), 0.0, float(inside.sum())])
    return mask, torch.tensor(objects)


def _part(name: str, size: int) -> Part:
    rng = generator("scenes", name)
    masks = torch.stack([_mask(rng) for _ in range(size)])
    reader = ArrayReader(_pixels(masks, rng))
    labels = Labels(torch.zeros(size, dtype=torch.int64), ("images",), declared=True)
    return Part(name, f"generated {name} split", reader, labels, masks=ArrayReader(masks[:, None]))


def _pixels(masks: Tensor, rng: torch.Generator) -> Tensor:
    """Images of scenes by their masks (N, H, W), under changing light: (N, 3, H, W), uint8."""
    light = 0.75 + 0.5 * torch.rand(len(masks), 1, 1, 1, generator=rng)
    noise = 0.1 * torch.randn(len(masks), 3, *masks.shape[1:], generator=rng)
    pixels = _SHADES[masks.long()].permute(0, 3, 1, 2) * light + noise
    return (pixels.clamp(0, 1) * 255).round().byte()


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
