"""Large maps made in parts, where the memory is too small for the whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor


def in_tiles(make: Callable[[slice, slice], Tensor], size: tuple[int, int], tile: int, margin: int) -> Tensor:
    """What `make` gives of parts of an image, put together without their margins.

    Args:
        make: takes the rows and columns of a part with its margin, and gives a map (..., of their size).
        size: height and width of the image.
        tile: height and width of a part; those at the end may be smaller.
        margin: pixels around a part that `make` sees as well, as far as there are any.

    Returns:
        (..., H, W).
    """
    found: dict[int, list[Tensor]] = {}
    for top, left in itertools.product(range(0, size[0], tile), range(0, size[1], tile)):
        rows, columns = (
            slice(max(0, start - margin), min(end, start + tile + margin))
            for start, end in zip((top, left), size, strict=True)
        )
        made = make(rows, columns)[..., top - rows.start :, left - columns.start :]
        # A view would keep the margins.
        found.setdefault(top, []).append(made[..., :tile, :tile].clone())
    return torch.cat([torch.cat(parts, -1) for parts in found.values()], -2)
