"""What the spatial convolution of a residual block can be, and how it takes a plain one's place."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..nn.dynamic import DDF_VARIANTS, filters_like, made_like, variant_options
from ..nn.operator import Radius
from ..ops.decoupled.operator import Operator, Weighting
from .layers import BLOCK_OPERATORS, DEPTHWISE, PLAIN, Convolution

#: What a layer without the other branch has no use for.
UNUSED: dict[str, tuple[str, ...]] = {"spatial": ("squeeze_ratio",), "channel": ("heads",)}


@dataclass(frozen=True)
class SpatialConvolution:
    """Turns the plain 3×3 convolutions of residual blocks into something else.

    Args:
        operator: ``"ddf"`` or a variant of it, ``"dw"`` (depth-wise), ``"conv"`` (plain, left as it is), or a
            decoupled operator.
        architecture: options of :class:`decoupled_nets.DDF2d` that the network is named after.
        usual: others, which give way to the operator's and to those that the caller gave.
        asked: those that the caller gave; they warn if the operator has no use for them.
        radius: of a decoupled operator.
        weighting: likewise.

    Raises:
        ValueError: there is no such operator, or it contradicts an option.
    """

    operator: Operator | str = "ddf"
    architecture: Mapping[str, Any] = field(default_factory=dict)
    usual: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    radius: Radius = "relative"
    weighting: Weighting | None = None

    def __post_init__(self) -> None:
        if not self._keeps_channels_apart:
            Convolution(self.operator)
        ignored: Iterable[str] = self.asked
        if isinstance(self.operator, str) and self.operator in DDF_VARIANTS:
            self._check_variant(self.operator)
            unused = UNUSED.get(self._options(self.operator).get("branches", "both"), ())
            ignored = [name for name in unused if name in self.asked]
        if names := ", ".join(ignored):
            warnings.warn(f"operator {self.operator!r} ignores {names}", stacklevel=3)

    def _check_variant(self, operator: str) -> None:
        variant_options(operator, self.asked)
        own = {name: value for name, value in self.architecture.items() if name not in self.asked}
        variant_options(operator, own, " of the network's name")

    def _options(self, operator: str) -> dict[str, Any]:
        return {**self.usual, **variant_options(operator, {**self.architecture, **self.asked})}

    @property
    def _keeps_channels_apart(self) -> bool:
        return isinstance(self.operator, str) and self.operator in BLOCK_OPERATORS

    def __call__(self, conv: nn.Conv2d) -> nn.Module:
        """What stands for `conv`: of its stride, dilation and, where operators mix channels, its channels.

        Raises:
            ValueError: `conv` relates channels in a way that an operator which keeps them apart cannot have.
        """
        if self.operator == PLAIN:
            return conv
        if not self._keeps_channels_apart:
            return self._decoupled(conv)
        if conv.groups > 1 or conv.in_channels != conv.out_channels:
            raise ValueError(
                f"a convolution of {conv.in_channels} to {conv.out_channels} channels, cardinality = "
                f"{conv.groups} received; needed: equal numbers and cardinality = 1 with operator "
                f"{self.operator!r}, which filters each channel by itself"
            )
        return self._apart(conv)

    def mixing(self, conv: nn.Conv2d) -> nn.Module:
        """The same for a block without 1×1 convolutions: one follows what keeps the channels apart."""
        if not self._keeps_channels_apart:
            return self(conv)
        spatial = self._apart(conv)
        mix = nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=False, **made_like(conv))
        nn.init.kaiming_normal_(mix.weight, mode="fan_out", nonlinearity="relu")
        return nn.Sequential(spatial, mix)

    def _apart(self, conv: nn.Conv2d) -> nn.Module:
        return self._depthwise(conv) if self.operator == DEPTHWISE else self._dynamic(conv)

    def _depthwise(self, conv: nn.Conv2d) -> nn.Module:
        channels = conv.in_channels
        layer = nn.Conv2d(
            channels, channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,  # type: ignore[arg-type]
            groups=channels, bias=False, **made_like(conv),
        )  # fmt: skip
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        return layer

    def _dynamic(self, conv: nn.Conv2d) -> nn.Module:
        assert isinstance(self.operator, str)
        layer = filters_like(conv, self._options(self.operator))
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
            conv.groups, bias=False, **made_like(conv),
        )  # fmt: skip
        layer.weight.copy_(conv.weight)
        return layer
