"""What a benchmark measured, as tables: one a grid, and one of the means."""

from __future__ import annotations

from collections.abc import Sequence

from .._measure import Ratio
from . import format as fmt
from .bench_results import Measured, Worst, summarise
from .tables import Table

_HEADER = ["", "Forward", "Forward + backward", "Kept"]
_INDENT = "  "


def bench_tables(measured: Sequence[Measured]) -> list[Table]:
    """A table for every grid, in the order measured, and the geometric means over their layers.

    Times and memory kept for the backward pass are relative to the grid's baseline; "both compiled" is
    relative to the compiled ``nn.Conv2d``.
    """
    grids = dict.fromkeys(one.grid for one in measured)
    tables = [_grid_table(grid, [one for one in measured if one.grid == grid]) for grid in grids]
    means = _means_table(measured)
    return [*tables, means] if means.rows else tables


def _grid_table(grid: str, measured: Sequence[Measured]) -> Table:
    batches = {one.case["batch"] for one in measured}
    batch = f", batch {batches.pop()}" if len(batches) == 1 else ""
    rows: list[list[str]] = []
    number = None
    for one in measured:
        if one.number != number:
            number = one.number
            rows.append([one.label, "", "", ""])
        ratios = [_ratio(one.forward), _ratio(one.both), _number(one.kept)]
        rows.append([_INDENT + one.convolution, *ratios])
    return Table(f"{grid}{batch}: medians (quartiles) relative to {measured[0].baseline}", _HEADER, rows)


def _means_table(measured: Sequence[Measured]) -> Table:
    rows: list[list[str]] = []
    grid = None
    for mean in summarise(measured):
        if mean.grid != grid:
            grid = mean.grid
            rows.append([f"{grid}, {fmt.plural(mean.layers, 'layer')}", "", "", ""])
        means = map(_number, (mean.forward, mean.both, mean.kept))
        rows.append([_INDENT + mean.convolution, *means])
        rows.append([2 * _INDENT + "worst layer", _worst(mean.worst_forward), _worst(mean.worst_both), ""])
    return Table("Geometric means over the layers of a grid", _HEADER, rows)


def _ratio(ratio: Ratio | None) -> str:
    return fmt.MISSING if ratio is None else fmt.ratio(ratio.median, ratio.low, ratio.high)


def _number(value: float | None) -> str:
    return fmt.MISSING if value is None else f"{value:.2f}×"


def _worst(worst: Worst | None) -> str:
    return fmt.MISSING if worst is None else f"{worst.label}: {worst.ratio:.2f}×"
