"""The oracle of the dynamic filters: Eq. 2 pixel by pixel and tap by tap, in float64, and slow."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


def ddf_reference(
    input: Tensor,
    channel_filter: Tensor,
    spatial_filter: Tensor,
    *,
    stride: Sequence[int] = (1, 1),
    dilation: Sequence[int] = (1, 1),
    combine: str = "mul",
) -> Tensor:
    """As :func:`decoupled_nets.functional.ddf`, in float64; what lies outside of the image is left out."""
    x, per_channel, per_pixel = (t.double() for t in (input, channel_filter, spatial_filter))
    height, width = x.shape[2:]
    kernel = per_channel.shape[2:]
    taps = list(itertools.product(range(kernel[0]), range(kernel[1])))
    heads = per_pixel.shape[1] // len(taps)
    groups = []
    for head, xs, filters in zip(range(heads), x.chunk(heads, 1), per_channel.chunk(heads, 1), strict=True):
        out = []
        for i, j in itertools.product(range(per_pixel.shape[2]), range(per_pixel.shape[3])):
            total = torch.zeros_like(xs[:, :, 0, 0])
            for tap, (a, b) in enumerate(taps):
                row = stride[0] * i + dilation[0] * (a - kernel[0] // 2)
                column = stride[1] * j + dilation[1] * (b - kernel[1] // 2)
                if 0 <= row < height and 0 <= column < width:
                    of_pixel = per_pixel[:, head * len(taps) + tap, i, j].unsqueeze(1)
                    of_channel = filters[:, :, a, b]
                    both = of_pixel * of_channel if combine == "mul" else of_pixel + of_channel
                    total = total + both * xs[:, :, row, column]
            out.append(total)
        groups.append(torch.stack(out, -1).unflatten(-1, per_pixel.shape[2:]))
    return torch.cat(groups, 1)
