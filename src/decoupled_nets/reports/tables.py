"""The summary as tables: the same cells for the terminal, Markdown and the page."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from .._metric import Metric
from .._statistics import Interval, Spread, spread
from . import format as fmt
from .decision import Difference
from .results import Results, Run, Tuning
from .summary import Reach, Row, attack_names


@dataclass(frozen=True)
class Table:
    """A caption, a header and rows of finished cells; the first column says what a row is about."""

    caption: str
    header: list[str]
    rows: list[list[str]]


def tables(rows: list[Row]) -> list[Table]:
    """What was reached, what it says, and what it cost: tables that fit 80 columns each."""
    decided = difference_table(rows)
    return [score_table(rows), *([decided] if decided.rows else []), cost_table(rows)]


def score_table(rows: list[Row]) -> Table:
    """The task's metric, clean and under attack."""
    if not rows:
        return Table("Score", ["Operator"], [])
    attacks, metric = attack_names(rows), rows[0].metric
    against = f"Against {rows[0].operator}, {metric.difference_unit}"
    header = [rows[0].kind.capitalize(), f"Test {metric.heading}", "95 % interval of the first seed", against]
    header += [f"{fmt.attack(name)}, {metric.unit}" for name in attacks]
    cells = [
        [
            row.label,
            fmt.spread(row.score, metric),
            fmt.interval(row.single, metric),
            fmt.difference(row.difference and Spread(row.difference.mean, None, 1), metric),
            *(_at_most(row.attacked.get(name), metric) for name in attacks),
        ]
        for row in rows
    ]
    return Table(metric.capitalised, header, cells)


def _at_most(left: Spread | None, metric: Metric) -> str:
    """What an attack leaves is an upper bound: another one may leave less."""
    return fmt.MISSING if left is None else f"≤ {fmt.spread(left, metric)}"


def difference_table(rows: list[Row]) -> Table:
    """What differs from the baseline, and what this comparison could have seen; empty with one seed."""
    if not rows:
        return Table("Differences", ["Operator"], [])
    baseline, metric = rows[0], rows[0].metric
    header = [
        baseline.kind.capitalize(),
        f"Against {baseline.operator}, {metric.difference_unit}",
        "95 % interval",
    ]
    header += ["Chance to be better", "Verdict", f"Could see, {metric.difference_unit}"]
    header += [f"Seeds to see {fmt.size(baseline.margin, metric)}"]
    cells = [
        [
            row.label,
            fmt.difference(Spread(decided.mean, None, 1), metric),
            fmt.difference_interval(Interval(*decided.interval), metric),
            fmt.share(decided.ahead),
            decided.verdict(row.margin),
            fmt.size(decided.detectable, metric).split()[0],
            fmt.count(decided.seeds_for(row.margin)),
        ]
        for row in rows
        if (decided := row.decided) and decided.interval is not None and decided.detectable is not None
    ]
    return Table(f"Differences from {baseline.operator}", header, cells)


def trials_table(tuning: Tuning, labels: Sequence[str], metric: Metric, caption: str, first: str) -> Table:
    """What every setting gave on validation images, a row for each of `labels`; ◂ marks the choice."""
    rows = []
    for label in labels:
        cells = [label]
        for setting in tuning.settings:
            values = [t.val for t in tuning.trials if (t.operator, t.setting) == (label, setting)]
            best = " ◂" if tuning.chosen.get(label) == setting else ""
            finite = [value for value in values if math.isfinite(value)]
            shown = fmt.spread(spread(finite), metric) if finite or not values else "diverged"
            cells.append(shown + best)
        rows.append(cells)
    return Table(caption, [first, *(fmt.setting(one) for one in tuning.settings)], rows)


def tuning_tables(results: Results) -> list[Table]:
    """What was tried for each operator, and what tuning changed."""
    tuning = results.tuning
    if tuning is None:
        return []
    metric = results.metric
    attacked = results.config.get("adversarial", "none") != "none"
    judged = f"{metric.title} under PGD-10, {metric.unit}" if attacked else metric.heading
    changed = [
        [
            operator,
            fmt.spread(_test(tuning.untuned, operator), metric),
            _against(tuning.differences.get(operator), metric),
            fmt.setting(tuning.chosen[operator]) if operator in tuning.chosen else fmt.MISSING,
            fmt.spread(_test(results.runs, operator), metric),
            _against(results.differences.get(operator), metric),
        ]
        for operator in results.operators
    ]
    against = f"against {results.operators[0]}, {metric.difference_unit}"
    first = results.kind.capitalize()
    header = [first, f"Untuned test {metric.heading}", against, "Chosen"]
    header += [f"Tuned test {metric.heading}", against]
    return [
        trials_table(tuning, results.operators, metric, f"Validation {judged}; ◂ was chosen", first),
        Table("Untuned and tuned", header, changed),
    ]


def _test(runs: list[Run], operator: str) -> Spread | None:
    return spread([run.test.value for run in runs if run.operator == operator and run.test.images])


def _against(decided: Difference | None, metric: Metric) -> str:
    if decided is None:
        return fmt.MISSING
    mean = fmt.difference(Spread(decided.mean, None, 1), metric)
    if decided.interval is None:
        return mean
    return f"{mean} ({fmt.difference_interval(Interval(*decided.interval), metric)})"


def cost_table(rows: list[Row]) -> Table:
    """Convergence, time and memory."""
    baseline = rows[0].operator if rows else "baseline"
    first = rows[0].kind if rows else "operator"
    header = [first.capitalize(), f"Epochs to {baseline}'s best", "Training seconds to it"]
    header += ["Step time (quartiles)", "Peak memory, MB", "Parameters"]
    cells = [
        [
            row.label,
            *_reach_cells(row.reach),
            _step(row),
            fmt.megabytes(row.cost.peak_bytes if row.cost else None),
            fmt.count(row.parameters),
        ]
        for row in rows
    ]
    return Table("Convergence and cost", header, cells)


def further_table(results: Results) -> Table:
    """Further metrics that are one number a network: mean and deviation over seeds."""
    metrics = [m for m in results.further.values() if not _is_list(results, m.name)]
    header = [results.kind.capitalize(), *(f"{metric.capitalised}, {metric.unit}" for metric in metrics)]
    cells = [
        [operator, *(fmt.spread(spread(_values(results, operator, m.name)), m) for m in metrics)]
        for operator in results.operators
    ]
    return Table("Further metrics", header, cells if metrics else [])


def class_tables(results: Results) -> list[Table]:
    """Further metrics that are one number a class: a row a class, a column an operator, means over seeds."""
    names = results.data.get("classes", [])
    found = []
    for metric in results.further.values():
        if not _per_class(results, metric.name):
            continue
        columns = [_values(results, operator, metric.name) for operator in results.operators]
        cells = [
            [
                str(name),
                *(
                    fmt.spread(spread([one[k] for one in column if one[k] is not None]), metric)
                    for column in columns
                ),
            ]
            for k, name in enumerate(names)
        ]
        found.append(Table(f"{metric.capitalised}, {metric.unit}", ["Class", *results.operators], cells))
    return found


def _is_list(results: Results, name: str) -> bool:
    return any(isinstance(run.further.get(name), list) for run in results.runs)


def _of_class(runs: list[list[float | None]], k: int) -> Spread | None:
    """Of the runs that have a number for this class."""
    return spread([value for one in runs if (value := one[k]) is not None])


def _per_class(results: Results, name: str) -> bool:
    """Whether it is one number a class, and no table of numbers."""
    found = [run.further[name] for run in results.runs if isinstance(run.further.get(name), list)]
    return any(not any(isinstance(entry, list) for entry in one) for one in found)


def _values(results: Results, operator: str, name: str) -> list[Any]:
    return [run.further[name] for run in results.of(operator) if run.further.get(name) is not None]


#: The first column says whose the numbers are: it is never narrower than this, nor wider than its texts.
_NAMES = 24


def as_rich(table: Table) -> _Fitted:
    """A table for the terminal; print it with a ``rich.console.Console``.

    Columns that do not fit beside each other follow below, each part with the first column.
    """
    return _Fitted(table)


@dataclass(frozen=True)
class _Fitted:
    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, columns in enumerate(_parts(self.table, options.max_width)):
            yield _drawn(self.table, columns, " (continued)" if number else "")


def _widest(table: Table, index: int) -> int:
    """Headers wrap to the width of what stands below them; numbers must not wrap, operator names may."""
    return max(len(text) for text in [*table.header[index].split(), *(row[index] for row in table.rows), ""])


def _parts(table: Table, width: int) -> list[list[int]]:
    """The columns that stand beside each other."""
    left = width - min(_widest(table, 0), _NAMES) - 3
    parts: list[list[int]] = [[]]
    used = 0
    for index in range(1, len(table.header)):
        needed = min(_widest(table, index), left - 3) + 2
        if parts[-1] and used + needed > left:
            parts.append([])
            used = 0
        parts[-1].append(index)
        used += needed
    return parts


def _drawn(table: Table, columns: list[int], more: str) -> RichTable:
    drawn = RichTable(
        title=table.caption + more, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for index in (0, *columns):
        widest = _widest(table, index)
        drawn.add_column(
            Text("\n".join(textwrap.wrap(table.header[index], widest))),
            justify="right" if index else "left",
            vertical="bottom",
            no_wrap=index > 0,
            overflow="ellipsis" if index else "fold",
            min_width=None if index else min(widest, _NAMES),
        )
    for row in table.rows:
        drawn.add_row(*(Text(row[index]) for index in (0, *columns)))
    return drawn


def as_markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table, without its caption."""
    lines = [
        [cell.replace("|", "\\|") for cell in table.header],
        ["---", *("---:" for _ in table.header[1:])],
        *([cell.replace("|", "\\|") for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def as_html(table: Table) -> str:
    """An accessible HTML table; every cell is escaped."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.header)
    body = "\n".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    caption = html.escape(table.caption)
    return (
        f"<table>\n<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )


def _reach_cells(reach: Reach | None) -> tuple[str, str]:
    if reach is None:
        return fmt.MISSING, fmt.MISSING
    if not reach.reached:
        return "never", fmt.MISSING
    part = "" if reach.reached == reach.seeds else f" ({reach.reached} of {reach.seeds})"
    return fmt.epochs(reach.epochs) + part, fmt.seconds(reach.seconds)


def _step(row: Row) -> str:
    if row.cost is None:
        return fmt.MISSING
    return fmt.ratio(row.cost.step_ratio, row.cost.step_ratio_low, row.cost.step_ratio_high)
