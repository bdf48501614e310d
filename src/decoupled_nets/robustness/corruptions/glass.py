"""Glass blur: pixels that lie near each other take each other's place."""

from __future__ import annotations

import torch
from torch import Tensor

from ..draws import Draws
from . import corruption
from ._filters import gaussian, picked
from ._levels import levels_of


@corruption(
    "glass_blur", "Glass blur", 5, group="blur",
    cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
)  # fmt: skip
def glass_blur(images: Tensor, glass: tuple[float, int, int], draws: Draws) -> Tensor:
    """Blurred by a deviation, shuffled within so many pixels so many times, blurred again."""
    sigma, reach, times = glass
    images = levels_of(gaussian(images, sigma))
    for _ in range(times):
        images = picked(images, shuffled(images, reach, draws))
    return gaussian(images, sigma)


def shuffled(images: Tensor, reach: int, draws: Draws) -> Tensor:
    """Which pixel comes to each place: (B, H W) int64.

    From the last row up and from the last pixel back, a pixel takes the value of one up to `reach` away,
    which may have been given another one before. The script that made the published images means to exchange
    the two, but the second is written from what the first has become: the value is copied, and so it is here.
    Since a value comes from an earlier place or is an original one, all ways end, and doubling them finds
    the ends of all at once.
    """
    count, (height, width) = len(images), images.shape[2:]
    size = height * width
    y, x = (torch.arange(n, device=images.device) for n in (height, width))
    first, last = reach + 1, torch.tensor([height - reach, width - reach], device=images.device)
    inside = ((y >= first) & (y <= last[0]))[:, None] & ((x >= first) & (x <= last[1]))
    moves = draws.integers(2 * reach, (2, height, width)).to(images.device) - reach
    here = torch.arange(size, device=images.device)
    source = (y[:, None] + moves[:, 1]) * width + x + moves[:, 0]
    source = torch.where(inside, source, here.view(height, width)).flatten(1)
    earlier = inside.flatten()[source] & (source > here) & inside.flatten()
    # 0 to size - 1: original values; from size on: the values that places are given.
    ways = torch.cat([here.expand(count, -1), torch.where(earlier, size + source, source)], 1)
    for _ in range(size.bit_length()):
        ways = ways.gather(1, ways)
    return ways[:, size:]
