"""Filters whose sums have a fixed order, pixel by pixel: the batch changes no bit of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

#: What stands beyond the edge of "abcd": the edge, "dcb|abcd|cba" mirrored there, or "cba|abcd|dcb".
Border = Literal["edge", "mirror", "half"]


def folded(places: Tensor, size: int, border: Border) -> Tensor:
    """Places along an axis, which may be outside 0 to `size` - 1, to those whose pixel stands there."""
    if border == "edge":
        return places.clamp(0, size - 1)
    period = max(2 * (size - 1), 1) if border == "mirror" else 2 * size
    inside = places.remainder(period)
    return torch.minimum(inside, period - inside if border == "mirror" else period - 1 - inside)


def padded(images: Tensor, reach: int, border: Border) -> Tensor:
    """(B, C, H, W) to (B, C, H + 2 reach, W + 2 reach)."""
    for axis in (2, 3):
        size = images.shape[axis]
        places = torch.arange(-reach, size + reach, device=images.device)
        images = images.index_select(axis, folded(places, size, border))
    return images


def filtered(images: Tensor, kernel: Tensor, border: Border = "mirror") -> Tensor:
    """Correlation with a square kernel (K, K) of odd size."""
    reach, (height, width) = len(kernel) // 2, images.shape[2:]
    wide, total = padded(images, reach, border), torch.zeros_like(images)
    for dy, row in enumerate(kernel.tolist()):
        for dx, weight in enumerate(row):
            if weight:
                total = total + weight * wide[:, :, dy : dy + height, dx : dx + width]
    return total


def gaussian(images: Tensor, sigma: float, *, truncate: float = 4.0, border: Border = "edge") -> Tensor:
    """Gaussian blur with a deviation of `sigma` pixels, cut off at `truncate` deviations."""
    reach = int(truncate * sigma + 0.5)
    if not reach:
        return images
    weights = gaussian_weights(reach, sigma)
    for axis in (2, 3):
        size = images.shape[axis]
        places = torch.arange(-reach, size + reach, device=images.device)
        wide = images.index_select(axis, folded(places, size, border))
        total = weights[reach] * wide.narrow(axis, reach, size)
        for k in range(1, reach + 1):
            pair = wide.narrow(axis, reach - k, size) + wide.narrow(axis, reach + k, size)
            total = total + weights[reach + k] * pair
        images = total
    return images


def gaussian_weights(reach: int, sigma: float) -> list[float]:
    """A normal density at -reach, ..., reach, scaled to the sum 1."""
    values = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)]
    return [value / sum(values) for value in values]


def moved(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Each image by whole pixels of its own, with its edge repeated.

    Args:
        images: (B, C, H, W).
        rows: (B,) int64: the pixel that comes to a place stood so far below it.
        columns: (B,) int64: and so far to the right of it.
    """
    height, width = images.shape[2:]
    y = folded(torch.arange(height, device=images.device) + rows[:, None], height, "edge")
    x = folded(torch.arange(width, device=images.device) + columns[:, None], width, "edge")
    return picked(images, (y[:, :, None] * width + x[:, None, :]).flatten(1))


def motion_blurred(images: Tensor, radius: int, sigma: float, degrees: Tensor) -> Tensor:
    """The mean over a way that the image is moved along, older places lighter, as ImageMagick has it.

    Args:
        images: (B, C, H, W).
        radius: the way is twice as long, in pixels.
        sigma: deviation of the weights, in pixels.
        degrees: (B,) float64: direction of each image.
    """
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(2 * radius + 1)]
    sine, cosine = degrees.deg2rad().sin(), degrees.deg2rad().cos()
    total = torch.zeros_like(images)
    for k, weight in enumerate(weights):
        rows, columns = ((k * part - 0.5).ceil().to(torch.int64) for part in (sine, cosine))
        total = total + (weight / sum(weights)) * moved(images, rows, columns)
    return total


def picked(images: Tensor, places: Tensor) -> Tensor:
    """Pixels by their number: (B, C, H, W) and (B, H W) int64 to (B, C, H, W)."""
    flat = images.flatten(2)
    return flat.gather(2, places[:, None].expand_as(flat)).view_as(images)


def sampled(images: Tensor, y: Tensor, x: Tensor, border: Border) -> Tensor:
    """Bilinear interpolation.

    Args:
        images: (B, C, H, W).
        y: (B, H, W): row that each pixel comes from, from 0, between pixels too.
        x: (B, H, W): its column.
        border: what stands beyond the edge.
    """
    height, width = images.shape[2:]
    top, left = y.floor(), x.floor()
    down, right = (y - top).to(images.dtype)[:, None], (x - left).to(images.dtype)[:, None]
    rows = [folded(top.to(torch.int64) + k, height, border) for k in (0, 1)]
    columns = [folded(left.to(torch.int64) + k, width, border) for k in (0, 1)]
    (a, b), (c, d) = ([picked(images, (r * width + k).flatten(1)) for k in columns] for r in rows)
    upper, lower = a * (1 - right) + b * right, c * (1 - right) + d * right
    return upper * (1 - down) + lower * down


def zoomed(images: Tensor, factor: float) -> Tensor:
    """The middle of images, enlarged to their size, bilinear; corners stay corners."""
    for axis in (2, 3):
        size = images.shape[axis]
        part = math.ceil(size / factor)
        whole, first = round(part * factor), (size - part) // 2
        places = torch.arange(size, device=images.device, dtype=torch.float64) + (whole - size) // 2
        places = (places * ((part - 1) / max(whole - 1, 1))).clamp(0, part - 1)
        lower = places.floor().to(torch.int64).clamp(max=max(part - 2, 0))
        share = (places - lower).to(images.dtype)
        share = share if axis == 3 else share[:, None]
        near, far = (images.index_select(axis, first + (lower + k).clamp(max=part - 1)) for k in (0, 1))
        images = near * (1 - share) + far * share
    return images


def largest(values: Tensor, axes: Sequence[int]) -> Tensor:
    """The largest value of each image."""
    return values.amax(tuple(axes), keepdim=True)
