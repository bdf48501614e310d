"""Images to corrupt, and random numbers that are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from decoupled_nets.robustness.draws import Draws


def photo(side: int, channels: int = 3, height: int | None = None, number: int = 0) -> Tensor:
    """(C, H, W), multiples of 1/255: soft shapes of several colours, a hard edge and fine texture."""
    height = height or side
    y, x = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, side)[None, :]
    phase = 0.7 * number
    soft = [0.5 + 0.35 * torch.sin(4 * x + 2 * k + phase) * torch.cos(3 * y - k) for k in range(channels)]
    image = torch.stack(soft)
    image[:, height // 3 : height // 2, side // 4 : 3 * side // 4] = torch.tensor([0.9, 0.2, 0.1])[
        :channels, None, None
    ]
    rng = torch.Generator().manual_seed(number)
    image = image + 0.06 * torch.rand(image.shape, generator=rng)
    return (image.clamp(0, 1) * 255).round() / 255


def photos(count: int, side: int = 32, channels: int = 3, height: int | None = None) -> Tensor:
    """(B, C, H, W)."""
    return torch.stack([photo(side, channels, height, number) for number in range(count)])


class Given(Draws):
    """Random numbers of one image, all of which are kept, in `made`, as they were drawn."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(torch.tensor([1]), "given", seed)
        self.made: list[Tensor] = []

    def uniform(self, shape, like):
        self.made.append(super().uniform(shape, like))
        return self.made[-1]

    def normal(self, shape, like):
        wide = like.new_empty(0, dtype=torch.float64)
        angle = 2 * torch.pi * super().uniform(shape, wide)
        chance = super().uniform(shape, wide) + 2.0**-25
        self.made.append(((-2 * chance.log()).sqrt() * angle.cos()).to(like.dtype))
        return self.made[-1]
