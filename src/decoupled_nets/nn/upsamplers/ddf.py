"""Decoupled dynamic filters, as one upsampler among others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from ..upsample import DDFUpsample, Init
from ._base import checked, upsamplers


class DDF(DDFUpsample):
    """:class:`decoupled_nets.DDFUpsample` that starts as nearest-neighbour interpolation.

    Guided if it was made with `guidance_channels`; otherwise it looks at no guidance.
    """

    start: ClassVar[Init] = "nearest"

    def __init__(self, channels: int, scale_factor: int, guidance_channels: int | None = None) -> None:
        channels, scale_factor, guidance_channels = checked(channels, scale_factor, guidance_channels)
        super().__init__(channels, scale_factor, guidance_channels=guidance_channels, init=self.start)

    def forward(
        self, input: Tensor, guidance: Tensor | None = None, size: Sequence[int] | None = None
    ) -> Tensor:
        """(B, C, H, W) to (B, C, sH, sW), or to `size`."""
        return super().forward(input, None if self.guidance_channels is None else guidance, size)


class DDFBilinear(DDF):
    """The same, from a start as bilinear interpolation (zeros lie beyond the border)."""

    start = "bilinear"


upsamplers.add("ddf", DDF)
upsamplers.add("ddf-bilinear", DDFBilinear)
