"""Sub-pixel convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._base import Upsampler, upsamplers


class PixelShuffle(Upsampler):
    """A 3×3 convolution to s²·C channels, which become s × s pixels.

    It starts as nearest-neighbour interpolation, exactly: every sub-position has the kernel that passes its
    channel. Parameters: 9·s²·C² + s²·C.

    Source: W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network", CVPR 2016; sub-positions that start alike: A. Aitken et al., 2017.
    """

    start = "nearest"

    def __init__(self, channels: int, scale_factor: int, guidance_channels: int | None = None) -> None:
        super().__init__(channels, scale_factor, guidance_channels)
        self.conv = nn.Conv2d(self.channels, self.channels * self.scale_factor**2, 3, padding=1)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start as nearest-neighbour interpolation."""
        nn.init.zeros_(self.conv.weight)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)
        rows = torch.arange(self.conv.out_channels)
        self.conv.weight[rows, rows // self.scale_factor**2, 1, 1] = 1.0

    def upsampled(self, input: Tensor, guidance: Tensor | None, size: tuple[int, int]) -> Tensor:
        """(B, C, H, W) to (B, C, sH, sW)."""
        return F.pixel_shuffle(self.conv(input), self.scale_factor)


upsamplers.add("pixelshuffle", PixelShuffle)
