"""TensorFlow's SAME padding, which released recipes have."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .layer import Layer


class SamePad2d(Layer):
    """Pads so that a convolution or pooling of stride s over size n has ceil(n / s) outputs.

    What cannot be halved goes to the bottom and the right: with a stride of 2, an even size and a 3×3 kernel
    all of it does, while ``padding=1`` would put the first window one pixel further up and left. The layer
    that follows has no padding of its own.

    Args:
        kernel_size: of the layer that follows.
        stride: likewise.
        value: what is put there: 0 for a convolution, ``-inf`` for a maximum.

    Raises:
        ValueError: kernel size or stride is below 1.

    Source: the authors' released TensorFlow code pads all its convolutions and poolings so.

    Example:
        >>> import torch
        >>> from decoupled_nets.nn import SamePad2d
        >>> SamePad2d(3, 2)(torch.ones(1, 1, 2, 2))[0, 0].tolist()
        [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, kernel_size: int, stride: int, value: float = 0.0) -> None:
        super().__init__()
        if kernel_size < 1 or stride < 1:
            raise ValueError(
                f"kernel_size = {kernel_size} and stride = {stride} received; needed: at least 1 for both"
            )
        self.kernel_size = kernel_size
        self.stride = stride
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """(..., H, W) to (..., H', W')."""
        top, bottom = self._sides(input.shape[-2])
        left, right = self._sides(input.shape[-1])
        return F.pad(input, (left, right, top, bottom), value=self.value)

    def _sides(self, size: int) -> tuple[int, int]:
        # In this form exporters can keep the size open.
        outputs = (size + self.stride - 1) // self.stride
        missing = (outputs - 1) * self.stride + self.kernel_size - size
        missing = missing if self.kernel_size >= self.stride else max(missing, 0)
        return missing // 2, missing - missing // 2

    def extra_repr(self) -> str:
        """The arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, value={self.value}"
