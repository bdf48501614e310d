"""Transposed convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._base import Upsampler, upsamplers


class Transposed(Upsampler):
    """Transposed convolution by kernels of 2s × 2s with stride s: two input pixels an axis reach an output.

    It starts as nearest-neighbour interpolation, exactly. Parameters: 4s²·C² + C.

    Source: M. Zeiler et al., "Deconvolutional Networks", CVPR 2010; as the DDF paper's Table 6 compares it.
    """

    start = "nearest"

    def __init__(self, channels: int, scale_factor: int, guidance_channels: int | None = None) -> None:
        super().__init__(channels, scale_factor, guidance_channels)
        c, s = self.channels, self.scale_factor
        # Of an odd scale half a pixel of padding is missing; it is given at the end.
        self.conv = nn.ConvTranspose2d(c, c, 2 * s, stride=s, padding=(s + 1) // 2, output_padding=s % 2)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start as nearest-neighbour interpolation."""
        nn.init.zeros_(self.conv.weight)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)
        first, every = (self.scale_factor + 1) // 2, torch.arange(self.channels)
        inside = slice(first, first + self.scale_factor)
        self.conv.weight[every, every, inside, inside] = 1.0

    def upsampled(self, input: Tensor, guidance: Tensor | None, size: tuple[int, int]) -> Tensor:
        """(B, C, H, W) to (B, C, sH, sW)."""
        out: Tensor = self.conv(input)
        return out


upsamplers.add("transposed", Transposed)
