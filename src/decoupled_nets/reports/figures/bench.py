"""What decoupled convolution costs: ratios to plain convolution by layer, and as a layer grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..._measure import Ratio
from ..bench_results import Measured
from .style import BASELINE, WIDTH, Theme, ThemeName, operator_colours, styled

_MARKERS = {
    **{"layer": "o", "composed": "s", "released": "D", "compiled": "^"},
    **{"op": "o", "unfold": "v", "plain": "X", "shuffle": "P"},
}
_TWIN = "again"
# The widest axis, as the quotient of its ends, that ticks suit: more of them would run into one another.
_TICKS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (1.5, tuple(tick / 10 for tick in range(5, 16))),
    (2.5, tuple(tick / 5 for tick in range(2, 13))),
    (7.0, (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7)),
    (40.0, (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)),
    (float("inf"), tuple(10.0**tick for tick in range(-3, 5))),
)
_PASSES: tuple[tuple[Literal["forward", "both"], str], ...] = (
    ("forward", "Forward"),
    ("both", "Forward + backward"),
)
_SWEEPS = {"channels": "in_channels", "resolution": "size", "batch": "batch"}
_TITLES = {"channels": "As channels grow", "resolution": "As resolution grows", "batch": "As the batch grows"}
_LEGEND_HEIGHT = 0.24  # inches a line


def ratios(measured: Sequence[Measured], theme: ThemeName = "light", baseline: str = "nn.Conv2d") -> Figure:
    """Median ratios with their quartiles: a row a layer, and below lines over what grows.

    Grey is the plain convolution measured a second time: what lies within it is no difference.
    """
    layers = [one for one in measured if not one.case.get("sweep")]
    growing = [one for one in measured if one.case.get("sweep")]
    with styled(theme) as look:
        marks = _marks(measured, look)
        rows = _rows(layers)
        heights = [0.7 + len(rows) * _row_height(marks)] * bool(layers) + [3.6] * bool(growing)
        columns, lines = _legend_shape(marks, baseline)
        figure = Figure(figsize=(WIDTH, sum(heights, _LEGEND_HEIGHT * lines + 0.2)))
        parts: Any = figure.subfigures(max(len(heights), 1), 1, height_ratios=heights or None, squeeze=False)
        if layers:
            _draw_layers(parts[0, 0], layers, rows, marks, look)
            parts[0, 0].supxlabel(f"time ÷ {baseline}'s", fontsize=9.5, color=look.quiet)
        if growing:
            _draw_growth(parts[-1, 0], growing, marks, look)
        _legend(figure, marks, columns, look, baseline)
        return figure


Marks = dict[str, tuple[str, str]]  # convolution to colour and marker
Rows = list[tuple[str, int | None]]  # label and number of the case, or None for the name of a grid


def _marks(measured: Sequence[Measured], look: Theme) -> Marks:
    """A colour for an operator and a marker for a path; with one operator a colour for a path as well.

    The plain convolution's second measurement has none: it is the shade behind the others.
    """
    ours = {one.convolution: one for one in measured if one.path != _TWIN}
    operators = list(dict.fromkeys(one.operator for one in ours.values()))
    decoupled = [name for name in operators if name != BASELINE]
    colours = operator_colours(operators, look)
    marks = {}
    for name, one in ours.items():
        colour = colours[one.operator]
        if len(decoupled) == 1 and one.operator != BASELINE:
            colour = look.series[list(_MARKERS).index(one.path) % len(look.series)]
        marks[name] = colour, _MARKERS[one.path]
    return marks


def _rows(layers: Sequence[Measured]) -> Rows:
    rows: Rows = []
    grid = number = None
    for one in layers:
        if one.grid != grid:
            grid = one.grid
            rows.append((_heading(grid, layers), None))
        if one.number != number:
            number = one.number
            rows.append((one.label, number))
    return rows


def _heading(grid: str, layers: Sequence[Measured]) -> str:
    batches = {one.case["batch"] for one in layers if one.grid == grid}
    return f"{grid}, batch {batches.pop()}" if len(batches) == 1 and grid != "batch1" else grid


def _row_height(marks: Marks) -> float:
    return 0.08 + 0.055 * max(len(marks), 1)


def _draw_layers(part: FigureBase, layers: Sequence[Measured], rows: Rows, marks: Marks, look: Theme) -> None:
    heights = {number: y for y, (_, number) in enumerate(rows) if number is not None}
    passes = [(which, title) for which, title in _PASSES if any(getattr(one, which) for one in layers)]
    panels = part.subplots(1, len(passes), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (which, title) in zip(panels, passes, strict=True):
        axes.set_title(title)
        axes.axvline(1, color=look.quiet, linewidth=1, zorder=1)
        for one in layers:
            ratio = getattr(one, which)
            if ratio is not None:
                _draw_ratio(axes, ratio, heights[one.number], one.convolution, marks, look)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
    panels[0].set_yticks(range(len(rows)), [label for label, _ in rows], parse_math=False)
    for tick, (_, number) in zip(panels[0].get_yticklabels(), rows, strict=True):
        if number is None:
            tick.set(fontweight="bold", color=look.ink)
    _ratio_axis(panels[0], "x", layers)


def _draw_ratio(axes: Axes, ratio: Ratio, y: float, name: str, marks: Marks, look: Theme) -> None:
    """A dot with its quartiles, in the convolution's own part of the row; the twin shades the whole row."""
    if name not in marks:
        shade = _shade(look)
        axes.fill_betweenx([y - 0.45, y + 0.45], ratio.low, ratio.high, color=shade, linewidth=0, zorder=0.5)
        return
    colour, marker = marks[name]
    at = y - 0.4 + 0.8 * (list(marks).index(name) + 0.5) / len(marks)
    axes.plot([ratio.low, ratio.high], [at, at], color=colour, linewidth=1.4, alpha=0.6)
    axes.plot(ratio.median, at, marker, color=colour, markersize=4.2)


def _draw_growth(part: FigureBase, growing: Sequence[Measured], marks: Marks, look: Theme) -> None:
    sweeps = [name for name in _SWEEPS if any(one.case["sweep"] == name for one in growing)]
    panels = part.subplots(2, len(sweeps), sharey=True, sharex="col", squeeze=False)
    for column, sweep in enumerate(sweeps):
        members = [one for one in growing if one.case["sweep"] == sweep]
        for axes, (which, _) in zip(panels[:, column], _PASSES, strict=True):
            axes.axhline(1, color=look.quiet, linewidth=1, zorder=1)
            for name in dict.fromkeys(one.convolution for one in members):
                line = [one for one in members if one.convolution == name and getattr(one, which)]
                at = [one.case[_SWEEPS[sweep]] for one in line]
                _draw_line(axes, at, [getattr(one, which) for one in line], marks.get(name), look)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_locator(FixedLocator(sorted({o.case[_SWEEPS[sweep]] for o in members})))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        panels[1, column].set_xlabel(_constant(sweep, members[0].case))
        panels[0, column].set_title(_TITLES[sweep])
    for axes, (_, title) in zip(panels[:, 0], _PASSES, strict=True):
        axes.set_ylabel(title)
    _ratio_axis(panels[0, 0], "y", growing)


def _draw_line(
    axes: Axes, at: list[int], found: list[Ratio], mark: tuple[str, str] | None, look: Theme
) -> None:
    low, high = [ratio.low for ratio in found], [ratio.high for ratio in found]
    if mark is None:
        axes.fill_between(at, low, high, color=_shade(look), linewidth=0, zorder=0.5)
        return
    colour, marker = mark
    axes.vlines(at, low, high, color=colour, linewidth=1.2, alpha=0.6)
    axes.plot(
        at, [ratio.median for ratio in found], color=colour, marker=marker, linewidth=1.4, markersize=4.2
    )


def _constant(sweep: str, case: dict[str, Any]) -> str:
    """What grows, and what does not."""
    parts = {
        "channels": f"{case['in_channels']}→{case['out_channels']}",
        "resolution": f"{case['size']}²",
        "batch": f"batch {case['batch']}",
    }
    kept = ", ".join(text for name, text in parts.items() if name != sweep)
    return f"{sweep}\n({kept})"


def _ratio_axis(axes: Axes, name: Literal["x", "y"], measured: Sequence[Measured]) -> None:
    """A logarithmic axis, on which half and double lie equally far from 1, with room for all quartiles."""
    found = [r for one in measured for r in (one.forward, one.both) if r is not None]
    low = min([0.95, *(ratio.low for ratio in found)]) / 1.04
    high = max([1.05, *(ratio.high for ratio in found)]) * 1.04
    ticks = next(ticks for widest, ticks in _TICKS if high <= widest * low)
    axis = axes.xaxis if name == "x" else axes.yaxis
    axes.set(**{f"{name}scale": "log", f"{name}lim": (low, high)})
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axis.set_minor_locator(NullLocator())


def _legend_shape(marks: Marks, baseline: str) -> tuple[int, int]:
    """Columns and lines."""
    names = [*marks, f"{baseline} again"]
    most = max(1, 85 // (max(map(len, names)) + 6))
    lines = -(-len(names) // most)
    return -(-len(names) // lines), lines


def _legend(figure: Figure, marks: Marks, columns: int, look: Theme, baseline: str) -> None:
    handles: list[Any] = [
        Line2D([], [], color=colour, marker=marker, linewidth=1.4, markersize=5, label=name)
        for name, (colour, marker) in marks.items()
    ]
    handles.append(Patch(color=_shade(look), linewidth=0, label=f"{baseline} again"))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _shade(look: Theme) -> tuple[str, float]:
    return look.quiet, 0.25
