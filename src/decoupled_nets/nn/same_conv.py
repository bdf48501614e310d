"""Decoupled convolutions that pad in another way than ``torch.nn``'s."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .conv import DecoupledConv2d


def same_padded(input: Tensor, kernel_size: Any, stride: Any, dilation: Any) -> Tensor:
    """(..., H, W) with the zeros around it that leave ceil(H / s) outputs; the odd one goes to the far side.

    Source: TensorFlow's ``SAME``.
    """
    sides: list[int] = []
    for dim in (1, 0):  # the last dimension first, as F.pad wants it
        n, step = input.shape[dim - 2], stride[dim]
        span = dilation[dim] * (kernel_size[dim] - 1) + 1
        missing = (-(-n // step) - 1) * step + span - n
        missing = missing if span >= step else max(missing, 0)  # no branch where the size may stay open
        sides += [missing // 2, missing - missing // 2]
    return F.pad(input, sides)


class DecoupledConv2dSame(DecoupledConv2d):
    """A decoupled convolution with TensorFlow's padding: a stride of s over n pixels has ceil(n / s) outputs.

    Takes the arguments of :class:`decoupled_nets.DecoupledConv2d`; `padding` does not count. The zeros depend
    on the size of the input, and what cannot be halved of them goes to the bottom and the right.

    Example:
        >>> import torch
        >>> from decoupled_nets.nn import DecoupledConv2dSame
        >>> DecoupledConv2dSame(3, 8, 3, stride=2)(torch.rand(1, 3, 7, 8)).shape
        torch.Size([1, 8, 4, 4])
    """

    def padded_input(self, input: Tensor) -> tuple[Tensor, Any]:
        """(B, C, H, W) or (C, H, W) with zeros around it, and no padding left to do."""
        return same_padded(input, self.kernel_size, self.stride, self.dilation), 0


class DecoupledConv2dPadded(DecoupledConv2d):
    """The decoupled twin of convolutions with a module ``static_padding`` in front.

    EfficientNet-PyTorch and its kin reckon TensorFlow's padding once, for the size of image they are built
    for, and keep it in such a module. Only conversion makes this layer.
    """

    def padded_input(self, input: Tensor) -> tuple[Tensor, Any]:
        """What the module gives, and the layer's own padding."""
        padding: Any = self.static_padding
        return padding(input), self.padding
