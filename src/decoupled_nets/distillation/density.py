"""What a decoupled layer sees: how often which size of a patch comes with which cosine.

U: bins of sizes, T: bins of t = √d cos θ, O: output channels, N: patches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..calibration.layers import by_group, patch_norms
from ..nn.operator import DecoupledMixin
from ..ops.norms import kernel_norm

PER_OCTAVE = 16  # bins of sizes: one is known to 2 %
TURN = 1 / 16  # width of a bin of t
MOST = 2**22  # pairs of a patch and a kernel that are counted of a batch: more are thinned out


class Density:
    """A histogram of sizes and of t together, in equal steps of log size and of t; no value is kept.

    A size is what the magnitude takes: ‖x‖, or with the weighting ``product`` ‖w‖‖x‖.

    Args:
        rows: groups of output channels, each of which has a histogram of its own.
        fan_in: size d of a patch.

    Attributes:
        count: patches seen.
        counts: (rows, U, T), or None before the first patch.
    """

    def __init__(self, rows: int, fan_in: int) -> None:
        self.rows, self.fan_in = rows, fan_in
        self.count, self.sum = 0, 0.0
        self.first = 0
        self.counts: Tensor | None = None
        self._reach = math.ceil(math.sqrt(fan_in) / TURN)

    def add(self, norms: Tensor, sizes: Tensor, turns: Tensor) -> None:
        """Take in the norms of patches (G, N), and sizes and t of every channel for some of them (O, n).

        Raises:
            ValueError: one of them is not finite.
        """
        if not turns.numel():
            return
        self.count += norms.numel()
        self.sum += float(norms.sum(dtype=torch.float64))
        if not math.isfinite(self.sum + float(turns.sum(dtype=torch.float64))):
            raise ValueError("patches with infinities or NaN received; needed: finite ones")
        of_size = (sizes.log2() * PER_OCTAVE).floor().long()
        of_turn = (turns / TURN).floor().long() + self._reach
        of_turn = of_turn.clamp(0, 2 * self._reach - 1)
        counts = self._with_room(int(of_size.min()), int(of_size.max()), turns.device)
        row = torch.arange(len(turns), device=turns.device)[:, None] // (len(turns) // self.rows)
        place = (row * counts.shape[1] + of_size - self.first) * counts.shape[2] + of_turn
        self.counts = counts + place.flatten().bincount(minlength=counts.numel()).view_as(counts)

    def _with_room(self, low: int, high: int, device: torch.device) -> Tensor:
        if self.counts is None:
            self.first = low
            shape = self.rows, high - low + 1, 2 * self._reach
            return torch.zeros(shape, dtype=torch.long, device=device)
        left = max(self.first - low, 0)
        right = max(high + 1 - self.first - self.counts.shape[1], 0)
        self.first -= left
        return F.pad(self.counts, (0, 0, left, right))

    @property
    def mean_norm(self) -> float:
        """Mean norm of the patches."""
        return self.sum / max(self.count, 1)

    def joint(self, row: int) -> Tensor:
        """The share of every pair of bins, (U, T), in float64 on the processor."""
        assert self.counts is not None
        counts = self.counts[row].double().cpu()
        return counts / counts.sum()

    @property
    def size_edges(self) -> Tensor:
        """(U + 1,)."""
        assert self.counts is not None
        bins = torch.arange(self.counts.shape[1] + 1, dtype=torch.float64)
        return 2 ** ((self.first + bins) / PER_OCTAVE)

    @property
    def sizes(self) -> Tensor:
        """The sizes that the bins stand for, (U,)."""
        return (self.size_edges[1:] * self.size_edges[:-1]).sqrt()

    @property
    def turn_edges(self) -> Tensor:
        """(T + 1,)."""
        return (torch.arange(2 * self._reach + 1, dtype=torch.float64) - self._reach) * TURN

    @property
    def turns(self) -> Tensor:
        """The values of t that the bins stand for, (T,)."""
        return 0.5 * (self.turn_edges[1:] + self.turn_edges[:-1])


@contextmanager
def watched(layers: Iterable[DecoupledMixin]) -> Iterator[dict[DecoupledMixin, Density]]:
    """While a network runs: what its decoupled layers see."""
    found: dict[DecoupledMixin, Density] = {}

    def before(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        input = args[0] if args else kwargs["input"]
        if layer not in found:
            found[layer] = Density(_rows(layer), layer.weight[0].numel())
        found[layer].add(*seen_by(layer, input))

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
        yield found


def _rows(layer: DecoupledMixin) -> int:
    return layer.operator.channel_groups if layer.operator.learned != (None, None) else 1


@torch.no_grad()
def seen_by(layer: Any, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Norms of patches (G, N), and for every channel sizes and t = √d cos θ, thinned out (O, n)."""
    norms = by_group(layer, patch_norms(layer, input))
    weight = layer.effective_weight()
    kernels = kernel_norm(weight, layer.eps)
    unit = (weight / kernels.view(-1, *[1] * (weight.dim() - 1))).to(weight.dtype)
    if isinstance(layer, nn.Linear):
        z = F.linear(input, unit).flatten(0, -2) if input.dim() > 1 else F.linear(input, unit)[None]
        z = z.T
    else:
        z = layer._conv_forward(input, unit, None).movedim(-len(layer.kernel_size) - 1, 0).flatten(1)
    step = math.ceil(z.numel() / MOST) | 1  # odd: a power of two would see few columns of a map
    z, sizes = z[:, ::step], norms[:, ::step].repeat_interleave(len(z) // len(norms), 0)
    turns = math.sqrt(weight[0].numel()) * z.to(norms.dtype) / sizes
    if layer.weighting == "product":
        sizes = sizes * kernels[:, None]
    return norms, sizes, turns
