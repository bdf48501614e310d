"""What is had without training, beside what was trained."""

from __future__ import annotations

from . import format as fmt
from .results import Results
from .tables import Table

_ALIKE = 1e-3  # relative: so near to what is had without training, nothing was learned


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
    """Which networks do as well as something that needs no training, to a thousandth; "" where none do."""
    found: dict[str, list[str]] = {}
    for run in results.runs:
        apart = {
            abs(run.test.value - score.value) / abs(score.value): name
            for name, score in results.baselines.items()
            if score.value
        }
        if apart and (least := min(apart)) <= _ALIKE:
            found.setdefault(apart[least], []).append(f"{run.operator} (seed {run.seed})")
    words = [f"{fmt.listed(runs)} did as {name} does" for name, runs in found.items()]
    if not words:
        return ""
    return f"Nothing learned: {'; '.join(words)}. A smaller lr or more epochs may help."
