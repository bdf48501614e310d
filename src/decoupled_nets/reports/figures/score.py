"""The task's metric per operator, clean and under attack.

Dots with intervals, never bars: the numbers compared lie close together far from 0, and the length of a
bar whose axis does not start at 0 misleads.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..._statistics import Interval
from .. import format as fmt
from ..results import Results
from ..summary import Row, attack_names, summarise
from .style import WIDTH, ThemeName, operator_colours, styled

#: How an interval over images is called.
INTERVALS = {"wilson": "Wilson interval", "bootstrap": "bootstrap interval"}
_MARKERS = ("s", "D", "^", "v", "P", "X")


def score(results: Results, theme: ThemeName = "light") -> Figure:
    """The metric per operator: mean ± standard deviation over seeds, or one run's interval."""
    rows = summarise(results)
    metric = results.metric
    scale = metric.scale
    several = any(row.seeds > 1 for row in rows)
    with styled(theme) as look:
        colours = operator_colours(results.operators, look)
        figure, axes = _rows_figure(rows, colours)
        for y, row in enumerate(rows):
            if row.score is None:
                continue
            interval = _interval(row)
            if interval is not None:
                ends = [scale * interval.low, scale * interval.high]
                axes.plot(ends, [y, y], color=colours[row.operator], linewidth=2.5)
            seeds = [scale * run.test.value for run in results.of(row.operator) if run.test.images]
            if several:
                axes.plot(seeds, [y] * len(seeds), "|", color=colours[row.operator], markersize=11)
            axes.plot(scale * row.score.mean, y, "o", color=colours[row.operator], markersize=8)
            text = fmt.spread(row.score, metric)
            axes.text(
                1.02, y, text, transform=axes.get_yaxis_transform(), va="center_baseline", color=look.ink
            )
        baseline = rows[0].score if rows else None
        if baseline is not None:
            axes.axvline(
                scale * baseline.mean, color=look.quiet, linewidth=1, linestyle=(0, (4, 3)), zorder=0
            )
        axes.set_title(f"Test {metric.heading}")
        axes.set_xlabel(
            "mean ± standard deviation over seeds (ticks: single seeds)"
            if several
            else f"one seed, with the 95 % {INTERVALS[results.interval]} of its test images"
        )
        return figure


def attacks(results: Results, theme: ThemeName = "light") -> Figure:
    """The metric per operator without an attack and under each one, joined by a line."""
    rows = summarise(results)
    metric = results.metric
    names = attack_names(rows)
    markers = {name: _MARKERS[i % len(_MARKERS)] for i, name in enumerate(names)}
    with styled(theme) as look:
        colours = operator_colours(results.operators, look)
        figure, axes = _rows_figure(rows, colours, extra=0.55)
        for y, row in enumerate(rows):
            found = [(markers[name], metric.scale * spread.mean) for name, spread in row.attacked.items()]
            if row.score is not None:
                found.insert(0, ("o", metric.scale * row.score.mean))
            values = [value for _, value in found]
            axes.plot(values, [y] * len(values), color=colours[row.operator], linewidth=1.2, alpha=0.6)
            for marker, value in found:
                axes.plot(value, y, marker, color=colours[row.operator], markersize=7.5)
        if metric.unit == "%":
            axes.set_xlim(-2, 102)
        title = f"{metric.capitalised} under attack, {metric.unit}"
        axes.set_title(f"{title} at most, {fmt.threat(results.threat)}")
        kinds = [("o", "no attack"), *((markers[name], fmt.attack(name)) for name in names)]
        figure.legend(
            handles=[
                Line2D([], [], color=look.quiet, marker=m, linestyle="", markersize=7, label=label)
                for m, label in kinds
            ],
            loc="outside lower center",
            ncols=len(kinds),
        )
        return figure


def differences(results: Results, theme: ThemeName = "light") -> Figure:
    """The difference of each operator from the baseline, with its interval and with one tick a seed."""
    every = summarise(results)
    rows = [row for row in every if row.decided is not None and row.decided.interval is not None]
    metric, margin = results.metric, results.metric.scale * results.margin
    partners = {run.seed: run for run in results.of(results.operators[0])}
    with styled(theme) as look:
        colours = operator_colours(results.operators, look)
        figure, axes = _rows_figure(rows, colours)
        axes.axvspan(-margin, margin, color=look.quiet, alpha=0.15, linewidth=0)
        axes.axvline(0, color=look.quiet, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        for y, row in enumerate(rows):
            assert row.decided is not None
            assert row.decided.interval is not None
            colour = colours[row.operator]
            axes.plot(
                [metric.scale * end for end in row.decided.interval], [y, y], color=colour, linewidth=2.5
            )
            single = [
                metric.scale * (run.test.value - partners[run.seed].test.value)
                for run in results.of(row.operator)
                if run.seed in partners
            ]
            axes.plot(single, [y] * len(single), "|", color=colour, markersize=11)
            axes.plot(metric.scale * row.decided.mean, y, "o", color=colour, markersize=8)
            text = row.decided.verdict(row.margin)
            axes.text(
                1.02, y, text, transform=axes.get_yaxis_transform(), va="center_baseline", color=look.ink
            )
        axes.set_title(f"Test {metric.title}, difference from {results.operators[0]}")
        axes.set_xlabel(f"{metric.difference_unit}, simultaneous 95 % intervals (ticks: single seeds)")
        return figure


def _rows_figure(rows: Sequence[Row], colours: dict[str, str], extra: float = 0.0) -> tuple[Figure, Axes]:
    """Axes with one line per operator, the first on top."""
    figure = Figure(figsize=(WIDTH, 1.0 + extra + 0.34 * len(rows)))
    axes = figure.subplots()
    axes.set_yticks(range(len(rows)), [row.operator for row in rows], fontsize=10, parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(colours[row.operator])
    return figure, axes


def _interval(row: Row) -> Interval | None:
    if row.score is None or row.score.sd is None:
        return row.single
    return Interval(row.score.mean - row.score.sd, row.score.mean + row.score.sd)
