"""DySample: upsampling by learned sampling points."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._base import Upsampler, upsamplers

SCOPE = 0.25
GROUPS = 4


class DySample(Upsampler):
    """Every output pixel samples the input, bilinearly, at a point that the map itself moves.

    A 1×1 convolution predicts for each of 4 groups of channels (or fewer, if 4 does not divide C) s² offsets
    an input pixel, in pixels; 0.25 of them, the static scope, is added to the places of bilinear
    interpolation. The border is continued. The style is "LP" (linear, then pixel shuffle). With its weights
    of deviation 0.001 it starts as bilinear interpolation but for as much. Parameters: (C + 1)·2·4·s².

    Source: W. Liu et al., "Learning to Upsample by Learning to Sample", ICCV 2023, section 3.
    """

    start = "bilinear"

    def __init__(self, channels: int, scale_factor: int, guidance_channels: int | None = None) -> None:
        super().__init__(channels, scale_factor, guidance_channels)
        self.groups = math.gcd(self.channels, GROUPS)
        self.offset = nn.Conv2d(self.channels, 2 * self.groups * self.scale_factor**2, 1)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start as bilinear interpolation, nearly."""
        nn.init.normal_(self.offset.weight, std=0.001)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)

    def upsampled(self, input: Tensor, guidance: Tensor | None, size: tuple[int, int]) -> Tensor:
        """(B, C, H, W) to (B, C, sH, sW)."""
        s, g = self.scale_factor, self.groups
        batch, channels, height, width = input.shape
        # Half-precision numbers beyond 256 are one or two pixels apart: places and samples in float32.
        wide = torch.promote_types(input.dtype, torch.float32)
        # Columns first, as `grid_sample` has them: (B, 2·G, sH, sW).
        moved = F.pixel_shuffle(SCOPE * self.offset(input).to(wide), s)
        moved = moved.unflatten(1, (2, g)).transpose(1, 2).flatten(0, 1)  # (B·G, 2, sH, sW)
        size_x, size_y = s * width, s * height
        columns = (torch.arange(size_x, device=input.device, dtype=wide) + 0.5) / s
        rows = (torch.arange(size_y, device=input.device, dtype=wide) + 0.5) / s
        x = 2 * (columns + moved[:, 0]) / width - 1
        y = 2 * (rows.unsqueeze(1) + moved[:, 1]) / height - 1
        grouped = input.reshape(batch * g, channels // g, height, width).to(wide)
        grid = torch.stack((x, y), 3)
        out = F.grid_sample(grouped, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return out.view(batch, channels, size_y, size_x).to(input.dtype)


upsamplers.add("dysample", DySample)
