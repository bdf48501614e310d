"""What the spatial convolution of a residual block can be, and how it takes a plain one's place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..nn.ddf import Branches, DDF2d
from ..nn.filter_norm import Norm
from ..nn.operator import Radius
from ..ops.ddf import Combine
from ..ops.operator import Operator, Weighting
from .layers import BLOCK_OPERATORS, DEPTHWISE, PLAIN, Convolution

#: Variants of "ddf" by the options of DDF2d that they set; the paper's ablation (Table 3) is among them.
DYNAMIC: dict[str, dict[str, Any]] = {
    "ddf": {},
    "ddf-mul": {"combine": "mul"},
    "ddf-add": {"combine": "add"},
    "ddf-spatial": {"branches": "spatial"},
    "ddf-channel": {"branches": "channel"},
    "ddf-paper": {"norm": "paper"},
    "ddf-batch": {"norm": "batch"},
    "ddf-sigmoid": {"norm": "sigmoid"},
}
assert set(BLOCK_OPERATORS) == {DEPTHWISE, *DYNAMIC}


@dataclass(frozen=True)
class SpatialConvolution:
    """Turns the plain 3×3 convolutions of residual blocks into something else.

    Args:
        operator: ``"ddf"`` or a variant of it, ``"dw"`` (depth-wise), ``"conv"`` (plain, left as it is), or a
            decoupled operator.
        combine: of :class:`decoupled_nets.DDF2d`, like squeeze_ratio, heads, norm and branches.
        squeeze_ratio: σ.
        heads: G.
        norm: normalisation of generated filters.
        branches: which filters are generated.
        radius: of a decoupled operator.
        weighting: likewise.
    """

    operator: Operator | str = "ddf"
    combine: Combine = "mul"
    squeeze_ratio: float = 0.2
    heads: int = 1
    norm: Norm = "filter"
    branches: Branches = "both"
    radius: Radius = "relative"
    weighting: Weighting | None = None

    def __post_init__(self) -> None:
        if not self._keeps_channels_apart:
            Convolution(self.operator)

    @property
    def _keeps_channels_apart(self) -> bool:
        return isinstance(self.operator, str) and self.operator in BLOCK_OPERATORS

    def __call__(self, conv: nn.Conv2d) -> nn.Module:
        """What stands for `conv`: of its stride, dilation and, where operators mix channels, its channels."""
        if self.operator == PLAIN:
            return conv
        if self._keeps_channels_apart:
            return self._depthwise(conv) if self.operator == DEPTHWISE else self._dynamic(conv)
        return self._decoupled(conv)

    def mixing(self, conv: nn.Conv2d) -> nn.Module:
        """The same for a block without 1×1 convolutions: one follows what keeps the channels apart."""
        spatial = self(conv)
        if not self._keeps_channels_apart:
            return spatial
        mix = nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=False, **_made_like(conv))
        nn.init.kaiming_normal_(mix.weight, mode="fan_out", nonlinearity="relu")
        return nn.Sequential(spatial, mix)

    def _depthwise(self, conv: nn.Conv2d) -> nn.Module:
        channels = conv.in_channels
        layer = nn.Conv2d(
            channels, channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,  # type: ignore[arg-type]
            groups=channels, bias=False, **_made_like(conv),
        )  # fmt: skip
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        return layer

    def _dynamic(self, conv: nn.Conv2d) -> nn.Module:
        assert isinstance(self.operator, str)
        options: dict[str, Any] = {"combine": self.combine, "norm": self.norm, "branches": self.branches}
        options |= DYNAMIC[self.operator]
        layer = DDF2d(
            conv.in_channels, conv.kernel_size, conv.stride, conv.dilation, self.heads, self.squeeze_ratio,
            **options, **_made_like(conv),
        )  # fmt: skip
        # As timm, and with it the released code, initialises every convolution of a ResNet.
        for part in layer.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        return layer

    @torch.no_grad()
    def _decoupled(self, conv: nn.Conv2d) -> nn.Module:
        convolution = Convolution(self.operator, self.radius, self.weighting)
        layer = convolution.unit_variance(conv.weight[0].numel())(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
            conv.groups, bias=False, **_made_like(conv),
        )  # fmt: skip
        layer.weight.copy_(conv.weight)
        return layer


def _made_like(conv: nn.Conv2d) -> dict[str, Any]:
    return {"device": conv.weight.device, "dtype": conv.weight.dtype}
