"""What is measured: one convolution, or a whole network; each makes its modules, its input and its step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from .._measure import Step
from ..models import Convolution, create_model
from ..models.layers import is_decoupled
from ..nn.operator import Radius
from ..ops.decoupled.operator import resolve_operator
from .step import classifier_step

Dtype = Literal["float32", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels_last"]
_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
CLASSES = 10


@dataclass(frozen=True)
class LayerCase:
    """A convolution without bias on (batch, in_channels, size, size).

    Without `input_gradient` the input is data, as a network's first layer has it. Without `training` only
    the forward pass in evaluation mode is measured. `sweep` names what grows in a series of cases.
    """

    batch: int
    in_channels: int
    out_channels: int
    size: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    groups: int = 1
    memory_format: MemoryFormat = "contiguous"
    dtype: Dtype = "float32"
    input_gradient: bool = True
    training: bool = True
    sweep: str | None = None

    def __str__(self) -> str:
        parts = [f"{self.in_channels}→{self.out_channels}, {self.size}²"]
        parts += [f"{self.kernel}×{self.kernel}"] * (self.kernel != 3)
        parts += [f"stride {self.stride}"] * (self.stride != 1)
        parts += [f"{self.groups} groups"] * (self.groups != 1)
        parts += [self.memory_format] * (self.memory_format != "contiguous")
        parts += ["bf16"] * (self.dtype != "float32")
        parts += [f"batch {self.batch}"] * (self.sweep == "batch")
        return ", ".join(parts)

    @property
    def whole_step(self) -> bool:
        """A layer's forward pass is measured alone as well."""
        return False

    @property
    def operations(self) -> float:
        """Multiplications and additions of the plain forward pass."""
        out = (self.size + 2 * self.padding - self.kernel) // self.stride + 1
        inputs = self.in_channels // self.groups * self.kernel**2
        return 2.0 * self.batch * self.out_channels * out**2 * inputs

    def build(self, operator: str, radius: Radius) -> nn.Module:
        """The layer; ``"conv"`` is ``nn.Conv2d``."""
        layer = Convolution(operator, _radius_for(operator, radius))(
            self.in_channels, self.out_channels, self.kernel, self.stride, self.padding, groups=self.groups,
            bias=False, dtype=getattr(torch, self.dtype),
        )  # fmt: skip
        return layer.to(memory_format=_FORMATS[self.memory_format])

    def input(self) -> Tensor:
        """What is measured on: (batch, in_channels, size, size)."""
        return self._random(self.batch, self.size)

    def small_input(self) -> Tensor:
        """What is checked on: two small images, one with patch norms near 1, one of unit variance.

        A radius, whatever its unit, lies among the norms of one of them.
        """
        fan_in = self.in_channels // self.groups * self.kernel**2
        scale = torch.tensor([fan_in**-0.5, 1.0]).view(2, 1, 1, 1)
        return self._random(2, self.kernel + 2 * self.stride, scale)

    def step(self, module: nn.Module, x: Tensor) -> Step:
        """Forward and backward, with the gradients of the parameters and, where it has one, of the input."""
        inputs = [x] if x.requires_grad else []
        inputs += [p for p in module.parameters() if p.requires_grad]
        with torch.no_grad():
            grad = torch.randn_like(module(x))

        def step() -> None:
            torch.autograd.grad(module(x), inputs, grad, allow_unused=True)

        return step

    def _random(self, batch: int, size: int, scale: Tensor | float = 1.0) -> Tensor:
        x = scale * torch.randn(batch, self.in_channels, size, size)
        x = x.to(getattr(torch, self.dtype), memory_format=_FORMATS[self.memory_format])
        return x.requires_grad_(self.input_gradient)


@dataclass(frozen=True)
class NetworkCase:
    """A network on (batch, 3, size, size): its whole training step with Adam, or inference."""

    model: str
    batch: int
    width: float
    size: int = 32
    training: bool = True
    dtype: Dtype = "float32"

    def __str__(self) -> str:
        return f"{self.model} {'training step' if self.training else 'inference'}, {self.size}²"

    @property
    def whole_step(self) -> bool:
        """A network that is trained is measured in its whole training step."""
        return self.training

    @property
    def operations(self) -> float:
        """Roughly the multiplications and additions of the plain forward pass, after CNN-9's."""
        return 1.3e9 * self.batch * self.width**2 * (self.size / 32) ** 2

    def build(self, operator: str, radius: Radius) -> nn.Module:
        """The network; ``"conv"`` is the plain one."""
        own = _radius_for(operator, radius)
        return create_model(self.model, CLASSES, operator=operator, radius=own, width=self.width)

    def input(self) -> Tensor:
        """What is measured on: (batch, 3, size, size)."""
        return torch.randn(self.batch, 3, self.size, self.size)

    def small_input(self) -> Tensor:
        """What is checked on: one image."""
        return torch.randn(1, 3, self.size, self.size)

    def step(self, module: nn.Module, x: Tensor) -> Step:
        """Forward, backward and the optimizer's update."""
        return classifier_step(module, x, CLASSES)


def _radius_for(operator: str, radius: Radius) -> Radius:
    """A learned magnitude has no radius to learn: its unit is the mean norm."""
    learned = is_decoupled(operator) and resolve_operator(operator).learned[0] is not None
    return "relative" if learned else radius


Case = LayerCase | NetworkCase
