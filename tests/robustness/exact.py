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

    def __init__(self, classes: int, scale: float = 1, shift: float = 0, shape: tuple[int, ...] = SHAPE) -> None:
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


def reach(model: Linear, images: Tensor, labels: Tensor, norm: str, radius: float | Tensor) -> Tensor:
    """By how much some other class leads at most in the ball and the box, scale 1: (B,) float64."""
    weight, bias = model.inner.weight.double(), model.inner.bias.double()
    start = images.flatten(1).double()
    radius = torch.as_tensor(radius, dtype=torch.float64).expand(len(images))
    found = []
    for j in range(len(weight)):
        normal = weight[j] - weight[labels]
        room = torch.where(normal > 0, 1 - start, start)
        if norm == "linf":
            change = torch.minimum(radius[:, None].expand_as(room), room)
        else:
            change = _longest(normal.abs(), room, radius)
        lead = (normal * start).sum(1) + (bias[j] - bias[labels]) + (normal.abs() * change).sum(1)
        found.append(lead.masked_fill(labels == j, -torch.inf))
    return torch.stack(found, 1).amax(1)


def _longest(normal: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """The change along the normal, each pixel as far as its room, whose length is the radius."""
    low, high = torch.zeros(len(room), 1).double(), torch.full((len(room), 1), 1e6).double()
    for _ in range(200):
        middle = (low + high) / 2
        short = torch.minimum(middle * normal, room).norm(dim=1, keepdim=True) < radius[:, None]
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return torch.minimum(low * normal, room)


def exact_distance(model: Linear, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    """The smallest radius at which another class leads: (B,) float64."""
    low = torch.zeros(len(images)).double()
    high = low + (1 if norm == "linf" else math.sqrt(images[0].numel()))
    for _ in range(100):
        middle = (low + high) / 2
        out = reach(model, images, labels, norm, middle) >= 0
        low, high = torch.where(out, low, middle), torch.where(out, middle, high)
    return high
