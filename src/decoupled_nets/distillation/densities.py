"""Where the data of a layer lies: histograms of its patches' norms and of their cosines with its kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..conversion.engine import evaluating
from ..nn.operator import DecoupledMixin
from ..nn.watch import watched
from ..ops.decoupled import composed
from ..ops.decoupled.call import ConvCall, Operands
from ..optim import decoupled_layers

#: Bins of u = ‖x‖ / mean ‖x‖ and of t = √d |cos θ|, and their width; what lies beyond counts in the last one.
BINS, WIDTH = 200, 0.05


@dataclass
class Densities:
    """What a layer saw, in rows: one for each group of channels with functions of its own.

    Attributes:
        size: (rows, BINS), how many patches have a norm of u, in units of ρ.
        turn: (rows, BINS), how many pairs of a patch and a kernel have |t|.
        unit: ρ, in pixels: the mean norm, or the layer's number.
        fan_in: d, the size of a patch.
    """

    unit: float
    fan_in: int
    size: Tensor = field(default_factory=lambda: torch.zeros(0))
    turn: Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def beyond(self) -> float:
        """The share of the norms that lie beyond the bins, at more than ten mean norms."""
        return float(self.size[:, -1].sum() / self.size.sum().clamp(min=1))

    @property
    def centres(self) -> Tensor:
        """The u, or the |t|, of every bin."""
        return (torch.arange(BINS, dtype=torch.float64) + 0.5) * WIDTH


@torch.no_grad()
def observe(
    model: nn.Module, batches: Iterable[Any], forward: Callable[[nn.Module, Any], Any] | None = None
) -> dict[str, Densities]:
    """Histograms of every decoupled layer that batches reach, by its name, in evaluation mode.

    Args:
        model: a network with decoupled layers.
        batches: what goes into the network; of tuples and lists the first entry.
        forward: runs the network on a batch of any other kind.

    Raises:
        ValueError: there is no decoupled layer, or no batch.
    """
    if not any(True for _ in decoupled_layers(model)):
        raise ValueError("a network without decoupled layers received; needed: at least one")
    found: dict[str, Densities] = {}
    note = partial(_note, found)
    none = True
    with evaluating(model), watched(dict(decoupled_layers(model)), note):
        for batch in batches:
            none = False
            first = batch[0] if isinstance(batch, tuple | list) else batch
            model(first) if forward is None else forward(model, batch)
    if none:
        raise ValueError("no batches received; needed: at least one")
    return found


def _note(
    found: dict[str, Densities], name: str, layer: DecoupledMixin, call: ConvCall, given: Operands
) -> None:
    operands = composed.by_rows(call, given)
    norm, weight = operands.norm, operands.weight
    assert norm is not None
    rows = 1 if call.geometry is None else norm.shape[1]
    if name not in found:
        unit = float(layer.mean_norm) if layer.relative is not None else layer.radius
        unit = unit if isinstance(unit, float) else float(norm.mean())
        found[name] = Densities(unit, weight[0].numel())
        found[name].size = torch.zeros(rows, BINS, dtype=torch.float64)
        found[name].turn = torch.zeros(rows, BINS, dtype=torch.float64)
    densities = found[name]
    kernel_norm = (weight.double().flatten(1).square().sum(1) + call.eps).sqrt().to(norm.dtype)
    if call.geometry is None:
        z = torch.nn.functional.linear(operands.x.to(weight.dtype), weight)
        turn = (z / kernel_norm / norm).flatten(0, -2).T.unflatten(0, (rows, -1))
        size = norm.reshape(1, -1)
    else:
        z = composed.convolution(call, operands.x.to(weight.dtype), weight).unflatten(1, (rows, -1))
        turn = z / kernel_norm.view(rows, -1, *[1] * (norm.dim() - 2)) / norm.unsqueeze(2)
        turn, size = turn.movedim(1, 0), norm.movedim(1, 0)
    for row in range(rows):
        densities.size[row] += _counts(size[row] / densities.unit)
        densities.turn[row] += _counts(turn[row].abs() * math.sqrt(densities.fan_in))


def _counts(values: Tensor) -> Tensor:
    places = (values.flatten() / WIDTH).clamp(0, BINS - 1).long()
    return torch.bincount(places, minlength=BINS).double().cpu()
