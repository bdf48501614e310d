"""Sizes of upsampled maps beside s times the input's: what is allowed, and how maps are brought to them.

A convolution of stride s makes ceil(H/s) rows of H, or floor(H/s) without padding. So the map that is to be
upsampled may lack up to s − 1 rows of the finer one, or be that many too large.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


def target_size(input: Tensor, scale: int, size: Sequence[int] | None, name: str = "size") -> Size:
    """The size to upsample to: `size`, or s times the input's.

    Raises:
        ValueError: it is s rows or columns or more away from s times the input's.
    """
    height, width = scale * input.shape[-2], scale * input.shape[-1]
    if size is None:
        return height, width
    wanted, near = tuple(size), scale - 1
    fits = len(wanted) == 2 and abs(wanted[0] - height) <= near and abs(wanted[1] - width) <= near
    if not fits:
        raise ValueError(
            f"{name} = {wanted} received; needed: a height from {height - near} to {height + near} and a "
            f"width from {width - near} to {width + near} for an input of shape {tuple(input.shape)}"
        )
    return wanted[0], wanted[1]


def fitted(maps: Tensor, size: Size, *, picked: bool = False) -> Tensor:
    """Bring (B, C, sH, sW) to a size that is near.

    Args:
        maps: what was upsampled.
        size: the wanted height and width.
        picked: take pixel floor(i · sH / size) for pixel i, which makes repeated pixels what nearest
            interpolation to that size gives. Otherwise pixels stay in their place: rows and columns are cut
            off at the end, or the last one is continued.
    """
    whole = (maps.shape[2], maps.shape[3])
    if whole == size:
        return maps
    if picked and not _only_cut(whole, size):
        return F.interpolate(maps, size=size, mode="nearest")
    return _continued(maps[..., : size[0], : size[1]], size)


def unfitted(maps: Tensor, whole: Size, *, picked: bool = False) -> Tensor:
    """The way back: maps of the wanted size, pixel on pixel with what :func:`fitted` makes of sH × sW."""
    size = (maps.shape[2], maps.shape[3])
    if whole == size:
        return maps
    if picked and not _only_cut(whole, size):
        for axis, (count, now) in enumerate(zip(whole, size, strict=True), start=2):
            places = torch.arange(count, device=maps.device)
            first = torch.div(places * now + count - 1, count, rounding_mode="floor")
            maps = maps.index_select(axis, first.clamp(max=now - 1))
        return maps
    return _continued(maps[..., : whole[0], : whole[1]], whole)


def _only_cut(whole: Size, size: Size) -> bool:
    """Whether nearest-neighbour interpolation cuts off the last row or column and does no more."""
    return 0 <= whole[0] - size[0] <= 1 and 0 <= whole[1] - size[1] <= 1


def _continued(maps: Tensor, size: Size) -> Tensor:
    below, beside = size[0] - maps.shape[2], size[1] - maps.shape[3]
    return F.pad(maps, (0, beside, 0, below), mode="replicate") if below or beside else maps
