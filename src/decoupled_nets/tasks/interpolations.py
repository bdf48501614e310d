"""What a small map becomes without training: interpolation, and joint bilateral upsampling."""

from __future__ import annotations

import itertools
from typing import Protocol

from torch import Tensor

from ..ops.bilateral import REACH, joint_bilateral
from ..ops.resample import Degradation, interpolate_at, sample_offset
from ..ops.tiles import in_tiles

SPATIAL = (0.5, 1.0)
#: What networks start from: the first of these rows that there is.
STARTS = ("bicubic, known sample positions", "bicubic")
_MARGIN = REACH + 4  # samples around a tile: those averaged, and what the guidance was reduced from
RANGE = (0.02, 0.05, 0.1, 0.2, 0.4)


class _Judge(Protocol):
    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What is kept of each image."""


class Interpolations:
    """The ways, by name, from inputs as a joint network takes them.

    Args:
        scale: s.
        degradation: how the maps were made smaller.
        tile: height and width of the parts that joint bilateral upsampling, which takes the most memory, is
            computed in; None: at once.
    """

    def __init__(self, scale: int, degradation: Degradation, tile: int | None = None) -> None:
        self.scale, self.degradation, self.tile = scale, degradation, tile
        self.spatial, self.range = SPATIAL[0], RANGE[2]

    def choose(self, pairs: tuple[Tensor, Tensor], judge: _Judge) -> None:
        """Take the deviations with the smallest error on training pairs, inputs and targets."""
        tried = {}
        for spatial, range_ in itertools.product(SPATIAL, RANGE):
            outputs = self._bilateral(pairs[0], spatial, range_)
            tried[spatial, range_] = int(judge.outcomes(outputs, pairs[1]).sum())
        if any(tried.values()):  # crops may have no depth where errors are counted
            self.spatial, self.range = min(tried, key=lambda key: tried[key])

    def __call__(self, inputs: Tensor) -> dict[str, Tensor]:
        """(B, C + 1, s·h, s·w) to maps (B, 1, s·h, s·w)."""
        small, s = self._small(inputs), self.scale
        middle, known = (s - 1) / 2, sample_offset(s, self.degradation)
        ways = {name: interpolate_at(small, s, middle, name) for name in ("nearest", "bilinear", "bicubic")}
        if known != middle:
            ways[STARTS[0]] = interpolate_at(small, s, known, "bicubic")
        title = f"joint bilateral (deviations {self.spatial:g} samples, {self.range:g} of white)"
        ways[title] = self._bilateral(inputs, self.spatial, self.range)
        return ways

    def _small(self, inputs: Tensor) -> Tensor:
        return inputs[:, -1:, :: self.scale, :: self.scale]

    def _bilateral(self, inputs: Tensor, spatial: float, range_: float) -> Tensor:
        options = {"spatial": spatial, "range_": range_}

        def part(rows: slice, columns: slice) -> Tensor:
            some = inputs[..., rows, columns]
            return joint_bilateral(self._small(some), some[:, :-1], self.scale, self.degradation, **options)

        size = inputs.shape[-2], inputs.shape[-1]
        return in_tiles(part, size, self.tile or max(size), _MARGIN * self.scale)
