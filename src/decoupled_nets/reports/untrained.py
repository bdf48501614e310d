"""What is had without training, beside what was trained."""

from __future__ import annotations

import math

from ..tasks.interpolations import STARTS
from . import format as fmt
from .results import Results, Score
from .tables import Table

_ALIKE = 1e-3  # relative: so near to where it started, a network learned nothing


def untrained_tables(results: Results) -> list[Table]:
    """A row for each way; none where the task has none."""
    if not results.baselines:
        return []
    metric = results.metric
    header = ["Without training", f"Test {metric.heading}", "95 % interval"]
    cells = [
        [name, fmt.value(score.value, metric), fmt.interval(score.interval, metric)]
        for name, score in results.baselines.items()
    ]
    return [Table("Without training", header, cells)]


def no_better(results: Results) -> str:
    """Which networks still do what they started from, to a thousandth, and which do worse; "" where none do.

    The interval is over the same draws of images for all: where its ends agree as well, the images do.
    """
    name = next((one for one in STARTS if one in results.baselines), None)
    if name is None:
        return ""
    start = results.baselines[name]
    runs = [f"{run.operator} (seed {run.seed})" for run in results.runs if _alike(run.test, start)]
    worse = [
        f"{run.operator} (seed {run.seed})"
        for run in results.runs
        if not _alike(run.test, start) and results.metric.is_better(start.value, run.test.value)
    ]
    said = []
    if runs:
        said.append(f"Nothing learned: {fmt.listed(runs)} did as {name} does, from which networks start.")
    if worse:
        said.append(
            f"Worse than without training: {fmt.listed(worse)}, beside {name}, from which networks start."
        )
    if said:
        said.append("A smaller lr or more epochs may help.")
    return " ".join(said)


def _alike(one: Score, other: Score) -> bool:
    pairs = [(one.value, other.value), (one.low, other.low), (one.high, other.high)]
    return all(math.isclose(a, b, rel_tol=_ALIKE) for a, b in pairs if a is not None and b is not None)
