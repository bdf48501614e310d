"""Small networks that upsample in the ways in which libraries do, and what they are asked and give."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import FeaturePyramidNetwork

import decoupled_nets as dn

X = torch.rand(2, 3, 32, 48)


class Pyramid(nn.Module):
    """Three strided convolutions and torchvision's pyramid over them."""

    def __init__(self, padding: int = 1) -> None:
        super().__init__()
        sizes = (3, 8, 12, 16)
        self.body = nn.ModuleList(
            nn.Conv2d(a, b, 2 + padding, 2, padding) for a, b in itertools.pairwise(sizes)
        )
        self.fpn = FeaturePyramidNetwork(list(sizes[1:]), 16)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = {}
        for number, conv in enumerate(self.body):
            images = conv(images).relu()
            maps[str(number)] = images
        return self.fpn(maps)


class Block(nn.Module):
    """As a decoder has it: interpolate, then look at the skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(x, scale_factor=2.0)
        return self.conv(torch.cat([x, skip], 1)).relu()


class Decoder(nn.Module):
    """A small U-Net; its logits are interpolated last."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, 2, 1)
        self.down = nn.Conv2d(channels, channels, 3, 2, 1)
        self.block = Block(channels)
        self.head = nn.Conv2d(channels, 10, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        fine = self.stem(images).relu()
        logits = self.head(self.block(self.down(fine).relu(), fine))
        return F.interpolate(logits, size=images.shape[2:], mode="bilinear")


class Calls(nn.Module):
    """Any function of maps, between two convolutions."""

    def __init__(self, function, channels: int = 8, **children: nn.Module) -> None:
        super().__init__()
        self.first, self.function = nn.Conv2d(3, channels, 3, padding=1), function
        self.table = nn.Parameter(torch.rand(1, channels, 4, 4))
        for name, child in children.items():
            self.add_module(name, child)
        self.last = nn.LazyConv2d(4, 3, padding=1)
        with torch.no_grad():
            self.eval()(torch.ones(1, 3, 8, 8))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.function(self, self.first(images)))


def outcome(report: dn.Conversion) -> list[tuple[str, str | None, str | None]]:
    """Of each call: its name, what it became, and why it was left."""
    return [(fate.name, fate.became, fate.reason) for fate in report.fates]


def outputs(model, *inputs):
    """All tensors that a network gives."""
    with torch.no_grad():
        return list(torch.utils._pytree.tree_leaves(model(*inputs)))
