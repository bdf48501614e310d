"""Decoupled convolutions whose kernels are standardised before every use."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from .conv import DecoupledConv2d
from .same_conv import same_padded


class DecoupledStdConv2d(DecoupledConv2d):
    """A decoupled convolution with the kernels ``γ (w − mean) / sqrt(var + ε)`` of weight standardisation.

    The twin of timm's ``StdConv2d`` and ``ScaledStdConv2d``; it takes the arguments of
    :class:`decoupled_nets.DecoupledConv2d`. ε is 1e-6 and γ is 1 but for a converted layer, which keeps its
    own ε, and as γ its parameter ``gain`` times its number ``scale``.

    Source: Qiao et al., "Weight Standardization", 2019; Brock et al., 2021, for the scaled one.

    Example:
        >>> import torch
        >>> from decoupled_nets.nn import DecoupledStdConv2d
        >>> kernel = DecoupledStdConv2d(3, 8, 3).effective_weight()
        >>> bool(kernel.mean((1, 2, 3)).abs().max() < 1e-6)
        True
    """

    #: Attributes of the plain layer whose names a decoupled layer needs; they are kept in ``plain_state``.
    set_aside: ClassVar[tuple[str, ...]] = ("eps", "scale")

    def effective_weight(self) -> Tensor:
        """(O, C / groups, K, K): every kernel with mean 0 and variance γ²."""
        gain: Any = getattr(self, "gain", None)
        gamma = None if gain is None else (gain * self.plain_state["scale"]).view(-1)
        flat = self.weight.reshape(1, self.out_channels, -1)
        eps = self.plain_state.get("eps", 1e-6)
        unit = F.batch_norm(flat, None, None, weight=gamma, training=True, momentum=0.0, eps=eps)
        return unit.reshape_as(self.weight)


class DecoupledStdConv2dSame(DecoupledStdConv2d):
    """The same with TensorFlow's padding: the twin of timm's ``StdConv2dSame``, ``ScaledStdConv2dSame``."""

    def padded_input(self, input: Tensor) -> tuple[Tensor, Any]:
        """(B, C, H, W) or (C, H, W) with zeros around it, and no padding left to do."""
        return same_padded(input, self.kernel_size, self.stride, self.dilation), 0
