"""CARAFE: reassembly by filters that the map itself predicts."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..upsample import bilinear_filters, filtered_parts, interleave
from ._base import Upsampler, upsamplers

#: What share of a filter is spread over all taps at the start: taps of weight 0 would never learn.
SPREAD = 0.01


class CARAFE(Upsampler):
    """Content-aware reassembly of features: every output pixel is a weighted mean of 5×5 input pixels.

    ``W = softmax(encoder(compressor(x)))`` gives s² filters an input pixel, shared by all channels; zeros lie
    beyond the border. It is filtered by :func:`decoupled_nets.functional.ddf` with one spatial filter a
    sub-position, without unfolding. The encoder's biases start at the logarithms of bilinear
    interpolation's taps, of which 1 % is spread over all 25, where the paper starts as the mean of 25 pixels.

    Parameters, with M = 64 compressed channels: (C + 1)·M + (9M + 1)·25·s².

    Source: J. Wang et al., "CARAFE: Content-Aware ReAssembly of FEatures", ICCV 2019, section 3.
    """

    start = "bilinear"

    def __init__(
        self,
        channels: int,
        scale_factor: int,
        guidance_channels: int | None = None,
        *,
        kernel_size: int = 5,
        compressed: int = 64,
    ) -> None:
        super().__init__(channels, scale_factor, guidance_channels)
        if kernel_size < 3 or kernel_size % 2 == 0 or compressed < 1:
            raise ValueError(
                f"kernel_size = {kernel_size} and compressed = {compressed} received; needed: an odd number "
                "from 3 on, and at least 1"
            )
        self.kernel_size = kernel_size
        self.compressor = nn.Conv2d(self.channels, compressed, 1)
        self.encoder = nn.Conv2d(compressed, (self.scale_factor * kernel_size) ** 2, 3, padding=1)
        self.reset_parameters()

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        own = f"kernel_size={self.kernel_size}, compressed={self.compressor.out_channels}"
        return f"{super().extra_repr()}, {own}"

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start close to bilinear interpolation, within 1 %."""
        nn.init.xavier_uniform_(self.compressor.weight)
        nn.init.normal_(self.encoder.weight, std=0.001)
        assert self.compressor.bias is not None
        assert self.encoder.bias is not None
        nn.init.zeros_(self.compressor.bias)
        taps = bilinear_filters(self.scale_factor, (self.kernel_size, self.kernel_size))
        spread = (1 - SPREAD) * taps + SPREAD / taps.shape[1]
        self.encoder.bias.copy_(spread.log().flatten())

    def upsampled(self, input: Tensor, guidance: Tensor | None, size: tuple[int, int]) -> Tensor:
        """(B, C, H, W) to (B, C, sH, sW)."""
        parts, taps = self.scale_factor**2, self.kernel_size**2
        logits = self.encoder(self.compressor(input)).unflatten(1, (parts, taps))
        spatial = F.softmax(logits, 2).flatten(1, 2).to(input.dtype)
        # One number seen as a tensor: takes no memory.
        ones = input.new_ones(()).expand(len(input), parts * self.channels, *[math.isqrt(taps)] * 2)
        return interleave(filtered_parts(input, ones, spatial, parts), self.scale_factor)


upsamplers.add("carafe", CARAFE)
