"""A reproduction as tables: the paper's figures beside ours, the verdicts, and what tables there are."""

from __future__ import annotations

import statistics

from ..reports.tables import Table as Shown
from .metrics import METRICS
from .run import Reproduction, Training
from .table import table, table_names
from .verdict import Verdict, figure_text


def listing() -> Shown:
    """Every table that can be made."""
    rows = []
    for name in table_names():
        one = table(name)
        rows.append(
            [
                name,
                one.title,
                one.source,
                str(len(one.cells)),
                str(len(one.hypotheses)),
                ", ".join(one.scales),
            ]
        )
    return Shown("Tables", ["Table", "Shows", "From", "Cells", "Hypotheses", "Scales"], rows)


def tables(found: Reproduction) -> list[Shown]:
    """The figures and the verdicts."""
    return [figures(found), verdicts(found)]


def figures(found: Reproduction) -> Shown:
    """Each cell: the paper's figures, ours with the deviation over seeds, and how training ended."""
    header = ["Cell"]
    for metric in found.table.metrics:
        header += [f"Paper: {METRICS[metric].title}", "Ours"]
    header += ["Training accuracy", "Last quarter"] if found.trainings else []
    rows = []
    for cell in found.cells:
        row = [cell]
        for metric in found.table.metrics:
            row += [
                figure_text(found.table.figure(cell, metric), metric),
                _spread(found.ours.get(metric, {}).get(cell, []), METRICS[metric].digits),
            ]
        row += _training(found.trainings.get(cell)) if found.trainings else []
        rows.append(row)
    return Shown(f"{found.table.title}: {found.scale}", header, rows)


def _spread(values: list[float], digits: int) -> str:
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


def _training(one: Training | None) -> list[str]:
    if one is None:
        return ["–", "–"]
    accuracy = "–" if one.accuracy is None else f"{100 * one.accuracy:.1f} %"
    change = "–" if one.change is None else f"{100 * one.change:+.1f} points"
    return [accuracy, f"{change}: {'flattened' if one.flattened else 'not flattened'}"]


def verdicts(found: Reproduction) -> Shown:
    """Each hypothesis: the paper's difference, ours with its interval, and the verdict."""
    rows = [
        [one.hypothesis.text, _signed(one.paper), _signed(one.mean), _interval(one), one.text]
        for one in found.verdicts
    ]
    header = ["Hypothesis", "Paper, points", "Ours, points", "95 % interval", "Verdict"]
    return Shown("Hypotheses: by how much the first cell is better", header, rows)


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _interval(one: Verdict) -> str:
    return "–" if one.interval is None else f"{one.interval[0]:+.2f} to {one.interval[1]:+.2f}"
