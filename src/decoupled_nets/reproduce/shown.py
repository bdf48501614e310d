"""A reproduction as tables: the paper's figures beside ours, the verdicts, and what tables there are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from ..reports import format as fmt
from ..reports.sections.tuning import EDGE
from ..reports.tables import Table as Shown
from ..reports.tables import trials_table
from .metrics import METRICS, UNTRAINED, Reported
from .reproduction import Reproduction, Training
from .table import table, table_names
from .verdict import Verdict, figure_text


def listing() -> list[str]:
    """Every table that can be made, in lines."""
    lines = []
    for name in table_names():
        one = table(name)
        lines += [
            f"{name}: {one.title}",
            f"    {one.source}",
            f"    {len(one.cells)} cells ({', '.join(one.cells)})"
            + (f"; without training: {', '.join(one.untrained)}" if one.untrained else ""),
            f"    {len(one.hypotheses)} hypotheses; by {one.measured}; scales: {', '.join(one.scales)}",
        ]
    return lines


def brief(found: Reproduction) -> Shown:
    """The verdicts for a terminal: the words alone."""
    whole = verdicts(found)
    rows = [[*row[:-1], one.word] for row, one in zip(whole.rows, found.verdicts, strict=True)]
    return Shown(whole.caption, whole.header, rows)


def reasons(found: Reproduction) -> list[str]:
    """Why verdicts are not that a hypothesis holds, and what stands against them, in lines."""
    lines = [
        f"{said(found, one)}: {one.text}." for one in found.verdicts if one.reason and one.word != "not made"
    ]
    lines += [f"Training had not flattened: {fmt.listed(found.unsettled)}."] if found.unsettled else []
    return lines + ([EDGE.replace("NAMES", fmt.listed(found.edge))] if found.edge else [])


def title(found: Reproduction) -> str:
    """The paper's title, and what ours is on."""
    return found.table.title + (f"; here: {found.data['name']}" if found.data else "")


def trials(found: Reproduction) -> Shown | None:
    """What tuning tried; None without tuning."""
    if found.tuning is None or found.of_trials is None:
        return None
    heading = f"Validation {found.of_trials.heading}; ◂ was chosen"
    return trials_table(found.tuning, found.cells, found.of_trials, heading, "Cell")


def figures(found: Reproduction) -> Shown:
    """Each cell: the paper's figures, ours with the deviation over seeds, and how training ended."""
    header = ["Cell"]
    both = [any(metric in own for own in found.table.figures.values()) for metric in found.table.metrics]
    for metric, there in zip(found.table.metrics, both, strict=True):
        name = METRICS[metric].title
        header += [f"Paper: {name}", "Ours"] if there else [name[0].upper() + name[1:]]
    header += ["Chosen"] if found.chosen else []
    several = len(found.table.metrics) > 1
    header += [f"Untuned: {found.reported.title}" if several else "Untuned"] if found.untuned else []
    known = any(one.accuracy is not None for one in found.trainings.values())
    header += ["Training accuracy"] if known else []
    header += ["Last quarter"] if found.trainings else []
    rows = []
    for cell in found.rows:
        row = [cell]
        for metric, there in zip(found.table.metrics, both, strict=True):
            row += [figure_text(found.table.figure(cell, metric), metric)] if there else []
            values = found.ours.get(metric, {}).get(cell, [])
            lost = f" ({found.diverged[cell]} of {len(values)} diverged)" if cell in found.diverged else ""
            row += [_spread(values, METRICS[metric]) + lost]
        row += [_choice(found.chosen.get(cell))] if found.chosen else []
        row += [_spread(found.untuned.get(cell, []), found.reported)] if found.untuned else []
        row += _training(found.trainings.get(cell), found.reported.unit, known) if found.trainings else []
        rows.append(row)
    return Shown(f"{title(found)}, {found.scale}", header, rows)


def _choice(setting: Mapping[str, Any] | None) -> str:
    """What tuning chose for a cell; a row that needs no training has nothing."""
    return fmt.MISSING if setting is None else fmt.setting(setting) or "as shared: every setting diverged"


def _spread(values: list[float], kind: Reported) -> str:
    """Mean and deviation; a number that is not finite is of a run that never got there."""
    if not values:
        return "–"
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "never"
    digits = kind.digits
    if kind.relative and (mean := statistics.fmean(known)) > 0:  # metres or millimetres: three figures
        digits = max(digits, 2 - math.floor(math.log10(mean)))
    deviation = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    some = "" if len(known) == len(values) else f" ({len(known)} of {len(values)} runs)"
    return f"{statistics.fmean(known):.{digits}f}{deviation}{some}"


def _training(one: Training | None, unit: str, with_accuracy: bool) -> list[str]:
    if one is None:
        return ["–"] * (1 + with_accuracy)
    accuracy = "–" if one.accuracy is None else f"{100 * one.accuracy:.1f} %"
    change = "–" if one.change is None else f"{100 * one.change:+.1f} {unit}"
    ended = f"{change}: {'flattened' if one.flattened else 'not flattened'}"
    return [accuracy, ended] if with_accuracy else [ended]


def verdicts(found: Reproduction) -> Shown:
    """Each hypothesis: the paper's difference, ours with its interval, and the verdict."""
    rows = [
        [said(found, one), _signed(one, one.paper), _signed(one, one.mean), _interval(one), one.text]
        for one in found.verdicts
    ]
    header = ["Hypothesis", "Paper", "Ours", "95 % interval", "Verdict"]
    points = f", in {in_words(found)}" if found.table.measured not in UNTRAINED else ""
    return Shown(f"Hypotheses: by how much the first cell is better{points}", header, rows)


def in_words(found: Reproduction) -> str:
    """What differences of trained cells are in."""
    return "percent of the worse figure" if found.reported.relative else "points"


def said(found: Reproduction, one: Verdict) -> str:
    """A hypothesis in words, with its metric where the table has several."""
    return one.hypothesis.text + (
        f" ({METRICS[one.hypothesis.metric].short})" if len(found.table.metrics) > 1 else ""
    )


def _signed(one: Verdict, value: float | None) -> str:
    unit = METRICS[one.hypothesis.metric].unit
    return "–" if value is None else f"{value:+.2f}" + (f" {unit}" if unit != "points" else "")


def _interval(one: Verdict) -> str:
    return "–" if one.interval is None else f"{one.interval[0]:+.2f} to {one.interval[1]:+.2f}"
