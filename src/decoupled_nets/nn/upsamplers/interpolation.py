"""Interpolation, which has no parameters."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ._base import Upsampler, upsamplers


class Nearest(Upsampler):
    """Nearest-neighbour interpolation: every pixel is repeated."""

    start = "nearest"

    def upsampled(self, input: Tensor, guidance: Tensor | None, size: tuple[int, int]) -> Tensor:
        """(B, C, H, W) to `size`."""
        return F.interpolate(input, size=size, mode="nearest")


class Bilinear(Upsampler):
    """Bilinear interpolation between the centres of pixels (``align_corners=False``)."""

    start = "bilinear"

    def upsampled(self, input: Tensor, guidance: Tensor | None, size: tuple[int, int]) -> Tensor:
        """(B, C, H, W) to `size`."""
        return F.interpolate(input, size=size, mode="bilinear", align_corners=False)


upsamplers.add("nearest", Nearest)
upsamplers.add("bilinear", Bilinear)
