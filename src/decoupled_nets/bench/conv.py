"""Decoupled convolution beside ``nn.Conv2d``, layer by layer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..nn import DecoupledConv2d
from ..ops.reference import decoupled_conv_reference
from ..training.cost import Ratio, Step, interleaved_ratios

STAGES = ((32, 128), (16, 192), (8, 256))


@dataclass(frozen=True)
class Case:
    """A 3×3 convolution with padding 1 on (batch, in_channels, size, size)."""

    batch: int
    in_channels: int
    out_channels: int
    size: int

    def __str__(self) -> str:
        return f"{self.in_channels}→{self.out_channels}, {self.size}²"


@dataclass(frozen=True)
class Measured:
    """What one convolution took relative to ``nn.Conv2d`` in the same rounds."""

    case: dict[str, Any]
    convolution: str
    forward: Ratio
    both: Ratio


def cnn9_cases(batch: int, width: float) -> list[Case]:
    """The nine 3×3 layers of CNN-9 on 32² images."""
    cases, channels = [], 3
    for size, base in STAGES:
        out = round(base * width)
        for _ in range(3):
            cases.append(Case(batch, channels, out, size))
            channels = out
    return cases


def measure(case: Case, operators: list[str], rounds: int) -> list[Measured]:
    """Check each operator against the reference, then time all of them interleaved with the plain layer.

    The plain layer is measured twice: its second ratio shows the machine's spread.

    Raises:
        AssertionError: a result differs from the reference.
    """
    arguments = (case.in_channels, case.out_channels, 3)
    layers: dict[str, nn.Module] = {"nn.Conv2d": nn.Conv2d(*arguments, padding=1)}
    layers["nn.Conv2d again"] = layers["nn.Conv2d"]
    for operator in operators:
        layers[operator] = DecoupledConv2d(*arguments, padding=1, operator=operator, radius="learned")
        _check(layers[operator], case)
    x = torch.randn(case.batch, case.in_channels, case.size, case.size, requires_grad=True)
    forward = interleaved_ratios([_forward(layer, x) for layer in layers.values()], rounds)
    both = interleaved_ratios([_both(layer, x) for layer in layers.values()], rounds)
    rows = zip(layers, forward, both, strict=True)
    return [Measured(dataclasses.asdict(case), *row) for row in list(rows)[1:]]


def _check(layer: Any, case: Case) -> None:
    x = torch.randn(1, case.in_channels, 5, 5)
    with torch.no_grad():
        expected = decoupled_conv_reference(
            x, layer.weight, layer.bias, padding=1, operator=layer.operator, radius=layer.radius**2 + 1e-4
        )
        torch.testing.assert_close(layer(x).double(), expected, rtol=1e-4, atol=1e-4)


def _forward(layer: nn.Module, x: torch.Tensor) -> Step:
    def step() -> None:
        with torch.no_grad():
            layer(x)

    return step


def _both(layer: nn.Module, x: torch.Tensor) -> Step:
    def step() -> None:
        layer(x).sum().backward()

    return step
