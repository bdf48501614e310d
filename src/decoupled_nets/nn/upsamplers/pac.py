"""Pixel-adaptive transposed convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..upsample import check_guidance, interleave, separate
from ._base import Upsampler, guidance_for, upsamplers

#: Channels in which the guidance is compared.
FEATURES = 16


class PAC(Upsampler):
    """Transposed convolution whose kernel is weighed, pixel by pixel, by how alike the guidance is there.

    ``y_i = Σ_j exp(−½ ‖f_i − f_j‖²) W[p_i − p_j] x_j + b`` over the input pixels j, each on the output pixel
    (s − 1)//2 of its s × s, in a window of 2s + 1. The features f are the guidance itself if it has 16
    channels, as in PAC-Net, and otherwise its 1×1 convolution to 16; the guidance is brought to the output's
    size by area averages. Zeros lie beyond the border. It is computed by torch's own operations. Parameters:
    (2s + 1)²·C² + C, and 16·P unless P is 16.

    W starts as bilinear interpolation, the 1×1 convolution as torch's do. So the start is bilinear where the
    guidance is constant; where it changes, pixels that look otherwise count less, and the sum is smaller.

    Source: H. Su et al., "Pixel-Adaptive Convolutional Neural Networks", CVPR 2019, sections 3 and 4.1.
    """

    start = "bilinear, weighed by the guidance"
    guided = True

    def __init__(self, channels: int, scale_factor: int, guidance_channels: int | None = None) -> None:
        super().__init__(channels, scale_factor, guidance_channels)
        if self.guidance_channels is None:
            raise ValueError(
                "upsampler 'pac' received without guidance; needed: guidance_channels, because it compares "
                "the guidance of pixels; 'dysample', 'carafe' and 'ddf' need none"
            )
        c, side = self.channels, 2 * self.scale_factor + 1
        self.features: nn.Module = nn.Identity()
        if self.guidance_channels != FEATURES:
            self.features = nn.Conv2d(self.guidance_channels, FEATURES, 1, bias=False)
        self.weight = nn.Parameter(torch.empty(c, c, side, side))
        self.bias = nn.Parameter(torch.empty(c))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start as bilinear interpolation between pixels that look alike."""
        if isinstance(self.features, nn.Conv2d):
            self.features.reset_parameters()
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.weight)
        s, every = self.scale_factor, torch.arange(self.channels)
        along = torch.zeros(2 * s + 1)
        for place in range(s):
            for step, at in self._taps(place):
                along[at] = max(0.0, 1 - abs((place + 0.5) / s - 0.5 - step))
        self.weight[every, every] = torch.outer(along, along).to(self.weight)

    def _taps(self, place: int) -> list[tuple[int, int]]:
        """The input pixels that reach a place in 0 … s − 1: how far they are, and where in the kernel."""
        s = self.scale_factor
        found = [(step, s * step + (s - 1) // 2 - place + s) for step in (-1, 0, 1)]
        return [(step, at) for step, at in found if 0 <= at <= 2 * s]

    def upsampled(self, input: Tensor, guidance: Tensor | None, size: tuple[int, int]) -> Tensor:
        """(B, C, H, W) and guidance to (B, C, sH, sW)."""
        if guidance is None:
            raise ValueError(
                f"no guidance received by PAC; needed: guidance of {self.guidance_channels} channels"
            )
        assert self.guidance_channels is not None
        check_guidance(guidance, self.guidance_channels, input)
        s = self.scale_factor
        fine = self.features(guidance_for(input, guidance, s, size))
        parts = separate(fine, s).unflatten(1, (s * s, -1))  # (B, s², P', H, W)
        middle = parts[:, ((s - 1) // 2) * (s + 1)]
        around = F.pad(middle, (1, 1, 1, 1)), F.pad(input, (1, 1, 1, 1))
        maps = [self._part(parts[:, p], *around, divmod(p, s)) for p in range(s * s)]
        return interleave(torch.cat(maps, 1), s) + self.bias.view(-1, 1, 1)

    def _part(self, own: Tensor, others: Tensor, input: Tensor, place: tuple[int, int]) -> Tensor:
        """What one sub-position is: (B, C, H, W)."""
        height, width = own.shape[2:]
        weighed, kernels = [], []
        for dy, row in self._taps(place[0]):
            for dx, column in self._taps(place[1]):
                window = (..., slice(1 + dy, 1 + dy + height), slice(1 + dx, 1 + dx + width))
                alike = (-0.5 * (own - others[window]).square().sum(1, keepdim=True)).exp()
                weighed.append(alike * input[window])
                kernels.append(self.weight[:, :, row, column])
        return F.conv2d(torch.cat(weighed, 1), torch.cat(kernels, 1)[..., None, None])


upsamplers.add("pac", PAC)
