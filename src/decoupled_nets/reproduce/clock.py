"""Time and memory of single layers, measured side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from .._measure import Ratio, interleaved_ratios, peak_bytes, synchronize
from ..nn import DDF2d
from ..nn.dynamic import DDF_VARIANTS
from .metrics import METRICS
from .table import Hypothesis, Table
from .verdict import Verdict, paper_difference

#: Of the paper's input: images, channels, height and width.
SHAPE = (2, 256, 200, 300)
_ROUNDS = 9

Ratios = dict[tuple[str, str], Ratio]


def measured_layers(
    table: Table, cells: list[str], device: torch.device, shape: tuple[int, int, int, int] = SHAPE
) -> tuple[dict[str, dict[str, list[float]]], Ratios]:
    """By metric and cell milliseconds and megabytes; and the ratios of times that hypotheses are about.

    Args:
        table: whose cells name the layers.
        cells: which of them.
        device: where they run.
        shape: of the input.
    """
    given = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    steps = {cell: _step(str(table.cells[cell]["operator"]), given) for cell in cells}
    with torch.no_grad():
        ratios = interleaved_ratios([steps[cell] for cell in cells], rounds=_ROUNDS)
        first = _median(steps[cells[0]])
        asked = [(h.cell, h.against) for h in table.hypotheses if {h.cell, h.against} <= set(cells)]
        pairs = {
            pair: interleaved_ratios([steps[pair[1]], steps[pair[0]]], rounds=_ROUNDS)[1]
            for pair in dict.fromkeys(asked)
        }
        memory = {cell: [(given.nbytes + peak_bytes(steps[cell], device)) / 1e6] for cell in cells}
    times = {cell: [1000 * first * one.median] for cell, one in zip(cells, ratios, strict=True)}
    return {"latency": times, "memory": memory}, pairs


def _step(operator: str, given: torch.Tensor) -> Callable[[], object]:
    """A forward pass of a 3×3 layer."""
    torch.manual_seed(0)
    channels = given.shape[1]
    layer: nn.Module
    if operator in DDF_VARIANTS:
        layer = DDF2d(channels, 3, **{"init": "random", **DDF_VARIANTS[operator]})
    else:
        layer = nn.Conv2d(channels, channels, 3, padding=1, groups=channels if operator == "dw" else 1)
    layer = layer.eval().to(given.device)

    def step() -> None:
        layer(given)
        synchronize(given.device)

    return step


def _median(step: Callable[[], object]) -> float:
    """Median seconds of a step."""
    times = [time.perf_counter()]
    for _ in range(_ROUNDS):
        step()
        times.append(time.perf_counter())
    return statistics.median(after - before for before, after in pairwise(times))


def judge_measured(
    table: Table,
    one: Hypothesis,
    ours: dict[str, dict[str, list[float]]],
    ratios: Ratios,
    device: torch.device,
) -> Verdict:
    """The verdict on a hypothesis about times, by the ratio of both in the same rounds, or about memory.

    On a processor nothing is decided about memory: what a library's convolution takes within is not seen.
    """
    paper, cells = paper_difference(table, one), ours[one.metric]
    if one.cell not in cells or one.against not in cells:
        return Verdict(one, "not made", paper, None, "not both cells were measured")
    gain = METRICS[one.metric].gain(cells[one.cell][0], cells[one.against][0])
    if one.metric != "latency":
        if device.type != "cuda":
            return Verdict(
                one, "undecided", paper, None, "the memory of convolutions is seen on GPUs only", exact=gain
            )
        holds = gain > 0 if one.direction == "better" else gain < 0
        return Verdict(one, "holds" if holds else "fails", paper, None, "", exact=gain)
    ratio = ratios[one.cell, one.against]
    said = f"{ratio.median:.2f} times as long, quartiles {ratio.low:.2f} to {ratio.high:.2f}"
    if ratio.low <= 1 <= ratio.high:
        return Verdict(one, "undecided", paper, None, said, exact=gain)
    holds = (ratio.high < 1) == (one.direction == "better")
    return Verdict(one, "holds" if holds else "fails", paper, None, said, exact=gain)
