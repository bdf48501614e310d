"""Decoupled convolution beside ``nn.Conv2d``, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn import DecoupledConv2d
from ..ops._library import without_kernels
from ..ops.norms import kernel_norm
from ..ops.reference import decoupled_conv_reference
from ..training.cost import Ratio, Step, interleaved_ratios

STAGES = ((32, 128), (16, 192), (8, 256))
PATHS = ("layer", "composed", "released")


@dataclass(frozen=True)
class Case:
    """A 3×3 convolution with padding 1 on (batch, in_channels, size, size).

    Without `input_gradient` the input is data, as a network's first layer has it.
    """

    batch: int
    in_channels: int
    out_channels: int
    size: int
    input_gradient: bool = True

    def __str__(self) -> str:
        return f"{self.in_channels}→{self.out_channels}, {self.size}²"


@dataclass(frozen=True)
class Measured:
    """What one convolution took relative to ``nn.Conv2d`` in the same rounds.

    `kept` is the memory of input, output and what autograd keeps but weights, relative to the plain one's.
    """

    case: dict[str, Any]
    convolution: str
    forward: Ratio
    both: Ratio
    kept: float


def cnn9_cases(batch: int, width: float) -> list[Case]:
    """The nine 3×3 layers of CNN-9 on 32² images."""
    cases: list[Case] = []
    channels = 3
    for size, base in STAGES:
        out = round(base * width)
        for _ in range(3):
            cases.append(Case(batch, channels, out, size, input_gradient=bool(cases)))
            channels = out
    return cases


def measure(
    case: Case,
    operators: list[str],
    rounds: int,
    radius: Literal["learned", "relative"] = "learned",
    paths: Sequence[str] = ("layer",),
) -> list[Measured]:
    """Check each operator against the reference, then time all of them interleaved with the plain layer.

    The plain layer is measured twice: its second ratio shows the machine's spread.

    Args:
        case: the layer.
        operators: shorthands.
        rounds: interleaved rounds.
        radius: ``"learned"`` or ``"relative"``.
        paths: ``"layer"`` (as a layer runs here), ``"composed"`` (of torch's operations) and ``"released"``
            (of those the paper's released code uses).

    Raises:
        AssertionError: a result differs from the reference.
    """
    arguments = (case.in_channels, case.out_channels, 3)
    plain = nn.Conv2d(*arguments, padding=1, bias=False)
    layers: dict[str, nn.Module] = {"nn.Conv2d": plain, "nn.Conv2d again": plain}
    for operator in operators:
        own = DecoupledConv2d(*arguments, padding=1, bias=False, operator=operator, radius=radius)
        every = {"layer": own, "composed": Composed(own), "released": Released(own)}
        for path in paths:
            _check(every[path], own, case)
            layers[operator if path == "layer" else f"{operator} ({path})"] = every[path]
    x = torch.randn(case.batch, case.in_channels, case.size, case.size, requires_grad=case.input_gradient)
    grad = torch.randn(case.batch, case.out_channels, case.size, case.size)
    kept = [_kept(layer, x) for layer in layers.values()]
    forward = interleaved_ratios([_forward(layer, x) for layer in layers.values()], rounds)
    both = interleaved_ratios([_both(layer, x, grad) for layer in layers.values()], rounds)
    rows = zip(layers, forward, both, (k / kept[0] for k in kept), strict=True)
    return [Measured(dataclasses.asdict(case), *row) for row in list(rows)[1:]]


class Composed(nn.Module):
    """A layer on the composed path."""

    def __init__(self, layer: DecoupledConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        with without_kernels():
            return self.layer(x)


class Released(nn.Module):
    """A layer as the paper's released code computes it: patch norms by a convolution of x² with ones."""

    ones: Tensor

    def __init__(self, layer: DecoupledConv2d) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("ones", torch.ones(1, layer.in_channels, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        layer: Any = self.layer
        norm = (F.conv2d(x * x, self.ones, padding=1) + layer.eps).sqrt()
        unit = layer.weight / kernel_norm(layer.weight, layer.eps).view(-1, 1, 1, 1)
        radius = layer.effective_radius(norm)
        radius = radius.view(-1, 1, 1) if isinstance(radius, Tensor) else radius
        return layer.operator.h(norm, radius) * layer.operator.g(F.conv2d(x, unit, padding=1) / norm)


@torch.no_grad()
def _check(module: nn.Module, layer: Any, case: Case) -> None:
    x = torch.randn(1, case.in_channels, 5, 5)
    layer.eval()
    radius = layer.effective_radius(x.new_ones(1))
    expected = decoupled_conv_reference(x, layer.weight, padding=1, operator=layer.operator, radius=radius)
    torch.testing.assert_close(module(x).double(), expected, rtol=1e-4, atol=1e-4)
    layer.train()


def _kept(layer: nn.Module, x: Tensor) -> int:
    """Bytes of input, output and what autograd keeps beside them, parameters aside."""
    held: dict[int, int] = {}

    def hold(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        out = layer(x)
    hold(x)
    hold(out)
    own = {t.untyped_storage().data_ptr() for t in _state(layer)}
    return sum(size for at, size in held.items() if at not in own)


def _state(layer: nn.Module) -> Iterator[Tensor]:
    yield from layer.parameters()
    yield from layer.buffers()


def _forward(layer: nn.Module, x: Tensor) -> Step:
    def step() -> None:
        with torch.no_grad():
            layer(x)

    return step


def _both(layer: nn.Module, x: Tensor, grad: Tensor) -> Step:
    inputs = [x] if x.requires_grad else []
    inputs += [p for p in layer.parameters() if p.requires_grad]

    def step() -> None:
        torch.autograd.grad(layer(x), inputs, grad, allow_unused=True)

    return step
