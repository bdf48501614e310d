"""Decoupled convolution with TensorFlow's SAME padding."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .conv import _DecoupledConv


class DecoupledConv2dSame(_DecoupledConv, nn.Conv2d):
    """The decoupled twin of timm's ``Conv2dSame``: a stride of s over n pixels has ceil(n / s) outputs.

    Takes the arguments of :class:`decoupled_nets.DecoupledConv2d`; `padding` does not count. The zeros depend
    on the size of the input, and what cannot be halved of them goes to the bottom and the right.

    Example:
        >>> import torch
        >>> from decoupled_nets.nn import DecoupledConv2dSame
        >>> DecoupledConv2dSame(3, 8, 3, stride=2)(torch.rand(1, 3, 7, 8)).shape
        torch.Size([1, 8, 4, 4])
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) or (C, H, W) to (B, O, H', W') or (O, H', W')."""
        return super().forward(self._padded(input))

    def _conv_forward(self, input: Tensor, *args: Any) -> Tensor:
        return super()._conv_forward(self._padded(input), *args)

    def _padded(self, input: Tensor) -> Tensor:
        sides: list[int] = []
        for dim in (1, 0):  # the last dimension first, as F.pad wants it
            n, step = input.shape[dim - 2], self.stride[dim]
            span = self.dilation[dim] * (self.kernel_size[dim] - 1) + 1
            missing = (-(-n // step) - 1) * step + span - n
            missing = missing if span >= step else max(missing, 0)  # no branch where the size may stay open
            sides += [missing // 2, missing - missing // 2]
        return F.pad(input, sides)
