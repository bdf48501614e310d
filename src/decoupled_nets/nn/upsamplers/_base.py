"""What upsamplers have in common: their call, and the registry of their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from ..._registry import Registry
from ...ops.geometry import plain_ints
from ..ddf import check_input
from ..layer import Layer
from ..output_size import fitted, target_size, unfitted

Builder = Callable[[int, int, "int | None"], nn.Module]
upsamplers: Registry[Builder] = Registry("upsampler", hyphens=True)


class Upsampling(Protocol):
    """How an upsampler is called."""

    def __call__(
        self, input: Tensor, guidance: Tensor | None = None, size: Sequence[int] | None = None
    ) -> Tensor:
        """(B, C, H, W) to (B, C, sH, sW), or to `size`."""


class Upsampler(Layer):
    """An upsampler: s times as high and wide, or to a size that is near.

    Args:
        channels: C.
        scale_factor: s, a whole number from 2 on.
        guidance_channels: P of the guidance that it is called with. Most look at none.

    Shape:
        Input (B, C, H, W) and guidance (B, P, H₂, W₂) to (B, C, sH, sW), or to `size`, within s − 1 of it.
        Rows and columns are cut off at the end, or the last one is continued; in upsamplers that start as
        nearest-neighbour interpolation pixels are taken as it takes them; plain interpolation gives any size.

    Raises:
        ValueError: an argument is out of range, or the input does not fit.
        TypeError: the input is not floating point.
    """

    #: The interpolation that it starts as, or is: "nearest", "bilinear", or other words for a report.
    start: ClassVar[str | None] = None
    guided: ClassVar[bool] = False

    def __init__(self, channels: int, scale_factor: int, guidance_channels: int | None = None) -> None:
        super().__init__()
        self.channels, self.scale_factor, self.guidance_channels = checked(
            channels, scale_factor, guidance_channels
        )

    def forward(
        self, input: Tensor, guidance: Tensor | None = None, size: Sequence[int] | None = None
    ) -> Tensor:
        """(B, C, H, W) to (B, C, sH, sW), or to `size`."""
        check_input(input, self.channels)
        target = target_size(input, self.scale_factor, size)
        if input.dim() == 3:
            batched = None if guidance is None else guidance.unsqueeze(0)
            return self.forward(input.unsqueeze(0), batched, size).squeeze(0)
        return fitted(self.upsampled(input, guidance, target), target, picked=self.start == "nearest")

    def upsampled(self, input: Tensor, guidance: Tensor | None, size: tuple[int, int]) -> Tensor:
        """(B, C, H, W) to (B, C, sH, sW), or to `size`, what is to become of it."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        guided = f", guidance_channels={self.guidance_channels}" if self.guidance_channels else ""
        return f"{self.channels}, scale_factor={self.scale_factor}{guided}"


def checked(channels: int, scale_factor: int, guidance_channels: int | None) -> tuple[int, int, int | None]:
    """The arguments of every upsampler.

    Raises:
        ValueError: one is out of range.
    """
    channels, scale_factor, guidance_channels = plain_ints((channels, scale_factor, guidance_channels))
    if channels < 1:
        raise ValueError(f"channels = {channels} received; needed: at least 1")
    if isinstance(scale_factor, bool) or not isinstance(scale_factor, int) or scale_factor < 2:
        raise ValueError(f"scale_factor = {scale_factor!r} received; needed: a whole number from 2 on")
    if guidance_channels is not None and guidance_channels < 1:
        raise ValueError(f"guidance_channels = {guidance_channels} received; needed: None or at least 1")
    return channels, scale_factor, guidance_channels


def guidance_for(input: Tensor, guidance: Tensor, scale: int, size: tuple[int, int]) -> Tensor:
    """Guidance of any size at the pixels of sH × sW: averaged over areas, then cut or continued."""
    if tuple(guidance.shape[2:]) != size:
        guidance = F.adaptive_avg_pool2d(guidance, size)
    return unfitted(guidance, (scale * input.shape[2], scale * input.shape[3]))
