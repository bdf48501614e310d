"""Sums over everything that belongs to an image, in an order that the number of images does not change."""

from __future__ import annotations

import torch
from torch import Tensor


def total(values: Tensor) -> Tensor:
    """The sum for each image: (B, ...) to (B,).

    Of a single long row torch's threads would each add up a part.
    """
    rows = values.flatten(1)
    return torch.cat([rows, rows]).sum(1)[:1] if len(rows) == 1 else rows.sum(1)


def length(values: Tensor) -> Tensor:
    """The root of the sum of squares for each image: (B, ...) to (B,)."""
    return total(values.square()).sqrt()


def largest(values: Tensor) -> Tensor:
    """The largest size for each image: (B, ...) to (B,)."""
    return values.flatten(1).abs().amax(1)


def spread(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, 1, 1), for as many dimensions as `like` has."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
