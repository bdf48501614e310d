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
from ..nn.dynamic import DDF_VARIANTS
from ..nn.operator import KAPPA_FLOOR, KAPPA_START, Radius
from ..ops.decoupled.operator import Operator, Weighting, resolve_operator

PLAIN = "conv"
DEPTHWISE = "dw"
#: What stands in residual blocks only, since it keeps channels apart: depth-wise and dynamic filters.
BLOCK_OPERATORS = (DEPTHWISE, *DDF_VARIANTS)


@dataclass(frozen=True)
class Convolution:
    """Which convolution a network is made of.

    Args:
        operator: ``"conv"`` for ``nn.Conv2d``, else an operator or its shorthand.
        radius: as in :class:`decoupled_nets.DecoupledConv2d`.
        weighting: likewise.

    Raises:
        ValueError: there is no such operator, or it stands in residual blocks only.
    """

    operator: Operator | str = PLAIN
    radius: Radius = "relative"
    weighting: Weighting | None = None

    def __post_init__(self) -> None:
        if isinstance(self.operator, str) and self.operator in BLOCK_OPERATORS:
            raise ValueError(
                f"operator {self.operator!r} received; needed: {PLAIN!r} or a decoupled operator; it "
                "filters each channel by itself, which residual networks allow (ddf_cifar_resnet26)"
            )
        if self.operator != PLAIN:
            object.__setattr__(self, "operator", _resolved(self.operator))

    def unit_variance(self, fan_in: int) -> Convolution:
        """The same with α and β scaled: random patches of unit variance get responses of unit variance.

        A bounded operator, or a squared cosine, answers with a deviation of about 1/sqrt(fan_in). BatchNorm
        divides that out in training, but its running variance starts at 1 and needs hundreds of steps to come
        down; before a classifier nothing divides it out at all.
        """
        if not isinstance(self.operator, Operator):
            return self
        alpha, beta = self.operator.alpha, self.operator.beta
        assert alpha is not None
        assert beta is not None
        gain = 1.0 / response_deviation(self.operator, self.radius, fan_in)
        # A magnitude without β would warn of another one.
        beta = beta * gain if self.operator.uses_beta else beta
        scaled = dataclasses.replace(self.operator, alpha=alpha * gain, beta=beta)
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


def response_deviation(operator: Operator, radius: Radius, fan_in: int) -> float:
    """Root mean square of an operator's response to patches of independent, unit-variance pixels.

    Their norm is close to ``sqrt(fan_in)``, and their cosine with any kernel is close to normal with a
    deviation of ``1/sqrt(fan_in)``.
    """
    # On the processor, whatever torch.device is in force: networks are also built on the meta device.
    norm = torch.tensor(math.sqrt(fan_in), dtype=torch.float64, device="cpu")
    quantiles = torch.linspace(0, 1, 100001, dtype=torch.float64, device="cpu")[1:-1]
    cosine = (torch.special.ndtri(quantiles) / norm).clamp(-1, 1)
    learned = (
        radius == "learned" and operator.learned[0] is None
    )  # a learned magnitude has the mean as its unit
    at = float(radius) if isinstance(radius, int | float) else 1.0 if learned else norm
    h = operator.h(norm, at)
    g = operator.g(cosine, KAPPA_START + KAPPA_FLOOR if operator.learns_k else None, fan_in=fan_in)
    return float((h * g).square().mean().sqrt())


def is_decoupled(operator: Operator | str) -> bool:
    """Whether `operator` names a decoupled operator, rather than a plain, depth-wise or dynamic filter.

    Raises:
        ValueError: there is no operator of that name.
    """
    if isinstance(operator, str) and operator in (PLAIN, *BLOCK_OPERATORS):
        return False
    _resolved(operator)
    return True


def same_operator(operator: str, other: str | None) -> bool:
    """Whether two texts name one operator: ``spline+groups=2`` is ``spline-spline+groups=2``."""
    if operator == other or other is None:
        return operator == other
    try:
        return resolve_operator(operator) == resolve_operator(other)
    except ValueError:  # a filter of another kind, several operators, or one that is registered elsewhere
        return False


def _resolved(operator: Operator | str) -> Operator:
    """An operator, where another convolution could stand as well: an error names those, too."""
    try:
        return resolve_operator(operator)
    except ValueError as error:
        if set("@+") & set(str(operator)):  # of these no other has one
            raise
        others = ", ".join(map(repr, BLOCK_OPERATORS))
        raise ValueError(
            f"{error}; {PLAIN!r} is plain convolution, and residual networks also take {others}"
        ) from None


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
                f"mean {tuple(mean)} and std {tuple(std)} received; needed: as many of one as of the other, "
                "and positive std"
            )
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return (images - self.mean) / self.std
