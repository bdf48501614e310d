"""Linear networks, and what is exactly true of them: the oracle of the tests of attacks.

All in float64 and by halving, so that nothing is shared with the attacks' own projections.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SHAPE = (2, 5, 4)


class Linear(nn.Module):
    """A linear network whose logits are scaled, then shifted."""

    def __init__(
        self, classes: int, scale: float = 1, shift: float = 0, shape: tuple[int, ...] = SHAPE
    ) -> None:
        super().__init__()
        self.inner = nn.Linear(math.prod(shape), classes)
        nn.init.normal_(self.inner.weight)
        # Grey is on the boundary of all classes, so that each of them has images.
        with torch.no_grad():
            self.inner.bias.copy_(-0.5 * self.inner.weight.sum(1))
        self.scale, self.shift = scale, shift
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * self.inner(images.flatten(1)) + self.shift


def spread_out(model: Linear, count: int, shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor]:
    """Images near grey, and near the box, with the network's own labels."""
    noise = torch.rand(count, *shape)
    images = 0.5 + (noise - 0.5) * torch.rand(count, 1, 1, 1)
    images = images.to(model.inner.weight.dtype)
    with torch.no_grad():
        return images, model(images).argmax(1)


def exact_distance(model: Linear, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    """The smallest radius at which another class leads, at scale 1: (B,) float64."""
    weight, bias = model.inner.weight.detach().double(), model.inner.bias.detach().double()
    start = images.flatten(1).double()
    found = []
    for j in range(len(weight)):
        normal = weight[j] - weight[labels]
        gap = -((normal * start).sum(1) + bias[j] - bias[labels])
        room = torch.where(normal > 0, 1 - start, start)
        change = _just_enough(normal.abs(), room, gap, norm)
        distance = change.amax(1) if norm == "linf" else change.norm(dim=1)
        within = (normal.abs() * room).sum(1) >= gap
        found.append(distance.masked_fill(~within | (labels == j), torch.inf))
    return torch.stack(found, 1).amin(1)


def _just_enough(normal: Tensor, room: Tensor, gap: Tensor, norm: str) -> Tensor:
    """How far each pixel goes: all alike, or in proportion to the normal, until the gap is closed."""
    pace = torch.ones_like(normal) if norm == "linf" else normal
    low, high = torch.zeros(len(room), 1).double(), torch.full((len(room), 1), 1e4).double()
    for _ in range(80):
        middle = (low + high) / 2
        short = (normal * torch.minimum(middle * pace, room)).sum(1, keepdim=True) < gap[:, None]
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return torch.minimum(high * pace, room)
