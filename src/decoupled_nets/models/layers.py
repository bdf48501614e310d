"""What the networks share: a convolution that is plain or decoupled, and input normalisation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..nn.conv import DecoupledConv2d
from ..nn.operator import Radius
from ..ops.operator import Operator, Weighting, resolve_operator

PLAIN = "conv"


@dataclass(frozen=True)
class Convolution:
    """Which convolution a network is made of.

    Args:
        operator: ``"conv"`` for ``nn.Conv2d``, else an operator or its shorthand.
        radius: as in :class:`decoupled_nets.DecoupledConv2d`.
        weighting: likewise.
    """

    operator: Operator | str = PLAIN
    radius: Radius = "relative"
    weighting: Weighting | None = None

    def __post_init__(self) -> None:
        if self.operator != PLAIN:
            object.__setattr__(self, "operator", resolve_operator(self.operator))

    def unit_variance(self, fan_in: int) -> Convolution:
        """The same with a bounded operator's α raised to ``sqrt(fan_in)``.

        A response within ±1 has a deviation of about 1/sqrt(fan_in) on patches of unit variance. Where no
        normalisation follows (before a classifier), that is a handicap of scale and not of the operator.
        """
        if not isinstance(self.operator, Operator) or not self.operator.bounded:
            return self
        alpha = self.operator.alpha
        assert alpha is not None
        scaled = dataclasses.replace(self.operator, alpha=alpha * math.sqrt(fan_in))
        return dataclasses.replace(self, operator=scaled)

    def __call__(self, *args: Any, **kwargs: Any) -> nn.Conv2d:
        """An ``nn.Conv2d`` or its decoupled twin, by the arguments of ``nn.Conv2d``.

        Kernels start as N(0, sqrt(2 / fan_in)); the random numbers drawn are the same for either.
        """
        if self.operator == PLAIN:
            layer = nn.Conv2d(*args, **kwargs)
        else:
            layer = DecoupledConv2d(
                *args, **kwargs, operator=self.operator, radius=self.radius, weighting=self.weighting
            )
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        return layer


class Normalize(nn.Module):
    """``(x - mean) / std`` per channel, as a part of the network: pixels in [0, 1] go in.

    Args:
        mean: one value a channel.
        std: one value a channel.

    Raises:
        ValueError: the two differ in length, or a deviation is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise ValueError(
                f"mean {tuple(mean)} and std {tuple(std)} received, equally many and positive std needed"
            )
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return (images - self.mean) / self.std
