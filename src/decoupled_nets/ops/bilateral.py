"""Joint bilateral upsampling: interpolation whose weights also say how alike the guidance is.

Source: J. Kopf et al., "Joint Bilateral Upsampling", SIGGRAPH 2007, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .resample import Degradation, degrade, sample_offset

REACH = 2  # samples to each side: the paper's window of 5 × 5


def joint_bilateral(
    maps: Tensor,
    guidance: Tensor,
    scale: int,
    how: Degradation = "pick",
    *,
    spatial: float = 0.5,
    range_: float = 0.1,
) -> Tensor:
    """``S_p = Σ_q S_q f(‖p − q‖) g(‖I_p − I_q‖) / Σ_q f g`` over the 5 × 5 samples q around a pixel p.

    f and g are Gaussians. Distances of pixels are in samples; I_q is the guidance made smaller as the map
    was.

    Args:
        maps: the small maps (B, 1, h, w).
        guidance: (B, C, s·h, s·w), pixels in [0, 1].
        scale: s.
        how: how the maps were made smaller, which says where their samples lie.
        spatial: deviation of f, in samples.
        range_: deviation of g, in pixel values.

    Returns:
        (B, 1, s·h, s·w).

    Raises:
        ValueError: the guidance is not s times as large.
    """
    h, w = maps.shape[-2:]
    if guidance.shape[-2:] != (scale * h, scale * w):
        raise ValueError(
            f"guidance of {guidance.shape[-2]}×{guidance.shape[-1]} received for a map of {h}×{w}; needed:"
            f" {scale * h}×{scale * w}, {scale} times its size"
        )
    offset, low = sample_offset(scale, how), degrade(guidance, scale, how)
    rows, columns = (
        (torch.arange(scale * n, device=maps.device, dtype=maps.dtype) - offset) / scale for n in (h, w)
    )
    exponents, values = [], []
    for dy in range(-REACH, REACH + 1):
        y = (rows + 0.5).floor().long() + dy
        for dx in range(-REACH, REACH + 1):
            x = (columns + 0.5).floor().long() + dx
            inside = ((y >= 0) & (y < h))[:, None] & ((x >= 0) & (x < w))
            at = (..., y.clamp(0, h - 1)[:, None], x.clamp(0, w - 1))
            apart = ((rows - y) ** 2)[:, None] + (columns - x) ** 2
            unlike = (guidance - low[at]).square().sum(1, keepdim=True)
            exponent = -apart / (2 * spatial**2) - unlike / (2 * range_**2)
            exponents.append(exponent.where(inside, -torch.inf))
            values.append(maps[at])
    # Shares of exponentials: a pixel that is like none of its samples still has a value.
    weights = torch.stack(exponents).to(maps.dtype).softmax(0)
    return (weights * torch.stack(values)).sum(0)
