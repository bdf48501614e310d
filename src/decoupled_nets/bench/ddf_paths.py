"""The ways of computing the same dynamic filters that are measured beside one another."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn import DDF2d
from ..ops.dynamic.functional import ddf
from .paths import Composed, compiled


class Filtering(nn.Module):
    """The op with filters that are given, not generated: one a pixel times one a channel.

    The filters have gradients and are kept as data: other images have others.
    """

    def __init__(self, channel: Tensor, spatial: Tensor) -> None:
        super().__init__()
        self.channel, self.spatial = channel, spatial

    def filters(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, k, k) and (B, k², H, W)."""
        return self.channel, self.spatial

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return ddf(x, self.channel, self.spatial)


class Unfolded(nn.Module):
    """A filtering, or a layer of stride 1 with one head, by ``unfold``: all windows lie in memory."""

    def __init__(self, own: Filtering | DDF2d) -> None:
        super().__init__()
        self.own = own

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return unfolded_ddf(x, *self.own.filters(x))


def unfolded_ddf(x: Tensor, channel: Tensor, spatial: Tensor) -> Tensor:
    """As :func:`decoupled_nets.functional.ddf` with one head, stride 1 and filters multiplied."""
    kernel = tuple(channel.shape[2:])
    padding = tuple(size // 2 for size in kernel)
    windows = F.unfold(x, kernel, padding=padding).unflatten(1, (x.shape[1], -1))  # (B, C, k², H·W)
    filters = channel.flatten(2).unsqueeze(-1) * spatial.flatten(2).unsqueeze(1)
    return (windows * filters).sum(2).view_as(x)


#: A module, and what computes the same.
PATHS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "op": lambda module: module,
    "unfold": lambda module: Unfolded(module) if isinstance(module, (Filtering, DDF2d)) else module,
    "composed": Composed,
    "compiled": lambda module: compiled(module),
}


def has_path(module: nn.Module, path: str) -> bool:
    """Whether the module can be computed so: ``unfold`` stands for single filterings and layers only."""
    return path != "unfold" or isinstance(module, (Filtering, DDF2d))


def leaves(module: nn.Module) -> list[Tensor]:
    """What of the module has gradients: its parameters, and the filters that it was given."""
    own = [p for p in module.parameters() if p.requires_grad]
    given = [m for m in module.modules() if isinstance(m, Filtering)]
    return own + [tensor for one in given for tensor in (one.channel, one.spatial)]


def in_float64(module: nn.Module) -> nn.Module:
    """A copy on the composed path in float64."""
    right = copy.deepcopy(module).double()
    for one in right.modules():
        if isinstance(one, Filtering):
            one.channel, one.spatial = (
                t.detach().double().requires_grad_() for t in (one.channel, one.spatial)
            )
    return Composed(right)


def random_filtering(batch: int, channels: int, size: int, kernel: int) -> Filtering:
    """A filtering of unit variance by normal filters."""
    channel = torch.randn(batch, channels, kernel, kernel).requires_grad_()
    spatial = (torch.randn(batch, kernel**2, size, size) / kernel).requires_grad_()
    return Filtering(channel, spatial)
