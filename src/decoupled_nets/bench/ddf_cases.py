"""What is measured of the dynamic filters: the op, layers that generate filters, and whole networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from .._measure import Step
from ..models import create_model
from ..nn import DDF2d, DDFUpsample
from .cases import MemoryFormat
from .ddf_paths import leaves, random_filtering
from .step import classifier_step

Kind = Literal["op", "module", "upsample"]
Named = tuple[str, str, nn.Module]  # name, path for the figure, module
DEPTH_WISE, TRANSPOSED, RESNET = "depth-wise", "nn.ConvTranspose2d", "timm resnet50"
STAGES = ((64, 56), (128, 28), (256, 14), (512, 7))
CLASSES = 1000
_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class FilterCase:
    """The op, a layer or an upsampling on (batch, channels, size, size)."""

    kind: Kind
    batch: int
    channels: int
    size: int
    kernel: int = 3
    memory_format: MemoryFormat = "contiguous"
    training: bool = True

    def __str__(self) -> str:
        return f"{self.channels}→{self.channels}, {self.size}²" + f", {self.kernel}×{self.kernel}" * (
            self.kernel != 3
        )

    @property
    def whole_step(self) -> bool:
        """The forward pass is measured alone as well."""
        return False

    @property
    def operations(self) -> float:
        """Roughly those of all that is measured, most of them the plain convolution's."""
        return 2.0 * self.batch * self.channels**2 * (self.size * self.kernel) ** 2

    def own(self) -> nn.Module:
        """What filters dynamically."""
        if self.kind == "op":
            return random_filtering(self.batch, self.channels, self.size, self.kernel)
        if self.kind == "module":
            return self._formatted(DDF2d(self.channels, self.kernel))
        return self._formatted(DDFUpsample(self.channels, 2, self.kernel, init="random"))

    def others(self) -> list[Named]:
        """What it stands in for, the baseline first."""
        c, k = self.channels, self.kernel
        if self.kind == "upsample":
            shuffled = nn.Sequential(nn.Conv2d(c, 4 * c, 3, padding=1, bias=False), nn.PixelShuffle(2))
            transposed = nn.ConvTranspose2d(c, c, 4, 2, 1, bias=False)
            pair = [(TRANSPOSED, "plain", transposed), ("conv + shuffle", "shuffle", shuffled)]
        else:
            depth_wise = nn.Conv2d(c, c, k, padding=k // 2, groups=c, bias=False)
            plain = nn.Conv2d(c, c, k, padding=k // 2, bias=False)
            pair = [(DEPTH_WISE, "plain", depth_wise), ("nn.Conv2d", "plain", plain)]
        return [(name, path, self._formatted(module)) for name, path, module in pair]

    def input(self) -> Tensor:
        """What is measured on, and checked."""
        x = torch.randn(self.batch, self.channels, self.size, self.size)
        return x.to(memory_format=_FORMATS[self.memory_format]).requires_grad_()

    def step(self, module: nn.Module, x: Tensor) -> Step:
        """Forward and backward, with the gradients of the input, the parameters and given filters."""
        inputs = [x, *leaves(module)]
        with torch.no_grad():
            grad = torch.randn_like(module(x))
        return lambda: torch.autograd.grad(module(x), inputs, grad)

    def _formatted(self, module: nn.Module) -> nn.Module:
        return module.to(memory_format=_FORMATS[self.memory_format])


@dataclass(frozen=True)
class ResNetCase:
    """DDF-ResNet-50 beside ResNet-50 on (batch, 3, size, size): training step with Adam, or inference."""

    batch: int
    size: int
    width: float
    training: bool
    memory_format: MemoryFormat = "contiguous"
    model: str = "ddf_mul_resnet50"

    def __str__(self) -> str:
        return f"{'training step' if self.training else 'inference'}, {self.size}², batch {self.batch}"

    @property
    def whole_step(self) -> bool:
        """A training step is measured as a whole."""
        return self.training

    @property
    def operations(self) -> float:
        """Roughly the multiplications and additions of ResNet-50's forward pass."""
        return 8.2e9 * self.batch * self.width**2 * (self.size / 224) ** 2

    def own(self) -> nn.Module:
        """The network of dynamic filters."""
        return self._formatted(create_model(self.model, CLASSES, width=self.width))

    def others(self) -> list[Named]:
        """The network it stands in for."""
        import timm  # takes seconds

        channels = tuple(round(c * self.width) for c, _ in STAGES)
        return [(RESNET, "plain", self._formatted(timm.create_model("resnet50", channels=channels)))]

    def input(self) -> Tensor:
        """What is measured on."""
        x = torch.randn(self.batch, 3, self.size, self.size)
        return x.to(memory_format=_FORMATS[self.memory_format])

    def step(self, module: nn.Module, x: Tensor) -> Step:
        """Forward, backward and the optimizer's update."""
        return classifier_step(module, x, CLASSES)

    def _formatted(self, module: nn.Module) -> nn.Module:
        return module.to(memory_format=_FORMATS[self.memory_format])


DdfCase = FilterCase | ResNetCase


@dataclass(frozen=True)
class Scale:
    """How large the cases of a grid are: 16, 1.0 and 1.0 are the real ones."""

    batch: int
    width: float
    size: float
    memory_format: MemoryFormat

    def filters(self, kind: Kind, batch: int, stage: tuple[int, int], kernel: int = 3) -> FilterCase:
        """One case, scaled."""
        channels, size = max(1, round(stage[0] * self.width)), max(2, round(stage[1] * self.size))
        return FilterCase(kind, max(1, batch), channels, size, kernel, self.memory_format)

    def network(self, batch: int, training: bool) -> ResNetCase:
        """One network, scaled; batch normalisation cannot be trained by one image."""
        size = max(32, round(224 * self.size))
        return ResNetCase(max(1 + training, batch), size, self.width, training, self.memory_format)


DDF_GRIDS: dict[str, Callable[[Scale], Sequence[tuple[str, DdfCase]]]] = {
    "op": lambda s: [("op", s.filters("op", s.batch, stage)) for stage in STAGES],
    "kernels": lambda s: [
        (f"kernels {k}×{k}", s.filters("op", s.batch, stage, k)) for k in (5, 7) for stage in STAGES
    ],
    "module": lambda s: [("module", s.filters("module", s.batch, stage)) for stage in STAGES],
    "upsample": lambda s: [("upsample", s.filters("upsample", s.batch // 2, STAGES[0]))],
    "networks": lambda s: [
        ("networks", s.network(1, False)),
        ("networks", s.network(s.batch // 2, False)),
        ("networks", s.network(s.batch // 2, True)),
    ],
}
