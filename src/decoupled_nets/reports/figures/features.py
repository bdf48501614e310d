"""The two-dimensional features of a network, one dot per validation image."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from .. import format as fmt
from ..results import Features, Results
from .scripts import set_name
from .style import WIDTH, Theme, ThemeName, grid, operator_colours, styled

MOST_CLASSES = 20
_MARKERS = ("o", "^")


def features(results: Results, theme: ThemeName = "light") -> Figure:
    """Small multiples, one per operator: where a two-dimensional feature layer puts each validation image.

    Axes have equal scales, their lines cross at the origin; only the first 20 classes are drawn.
    """
    shown = sorted(results.features, key=lambda f: _place(results, f.operator))
    present = sorted({label for one in shown for label in one.label})[:MOST_CLASSES]
    classes = _class_names(results, present)
    across = _legend_columns(list(classes.values()))
    with styled(theme) as look:
        rows, columns = grid(len(shown), 3)
        height = rows * (min(WIDTH / columns, 3.6) + 0.2) + 0.25 * -(-len(present) // across) + 0.1
        figure = Figure(figsize=(WIDTH, height))
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        colours = operator_colours(results.operators, look)
        for axes, one in zip(panels, shown, strict=False):
            _panel(axes, one, present, look)
            axes.set_title(one.operator, color=colours.get(one.operator, look.ink), parse_math=False)
            reached = f"{fmt.value(one.val, results.metric)} {results.metric.unit}"
            axes.set_title(reached, loc="right", fontweight="normal", fontsize=9.5)
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        _legend(figure, classes, across, look)
        return figure


def _class_names(results: Results, present: list[int]) -> dict[int, str]:
    names = [str(name) for name in results.data.get("classes", [])]
    known = {label: names[label] if label < len(names) else str(label) for label in present}
    return {label: name if len(name) <= 24 else f"{name[:23]}…" for label, name in known.items()}


def _legend_columns(names: list[str]) -> int:
    longest = max(map(len, names), default=0)
    return max(1, min(5, len(names), 85 // (longest + 6)))


def _place(results: Results, operator: str) -> int:
    return results.operators.index(operator) if operator in results.operators else len(results.operators)


def _panel(axes: Axes, one: Features, present: list[int], look: Theme) -> None:
    points = np.array([one.x, one.y], dtype=float)
    labels = np.array(one.label)
    finite = np.isfinite(points).all(axis=0)
    for line in (axes.axhline, axes.axvline):
        line(0, color=look.quiet, linewidth=0.8, zorder=0)
    for label in present:
        chosen = finite & (labels == label)
        colour, marker = _mark(label, look)
        axes.scatter(
            points[0, chosen], points[1, chosen], s=5, color=colour, marker=marker, alpha=0.75, linewidths=0
        )
    if finite.any():
        _frame(axes, points[:, finite])
    else:
        axes.text(0.5, 0.5, "not finite", transform=axes.transAxes, ha="center", va="center")
    axes.set_box_aspect(1)
    axes.grid(False)
    axes.locator_params(nbins=4)


def _frame(axes: Axes, points: NDArray[np.float64]) -> None:
    """Square limits that hold the origin and all but the farthest 0.4 % of the points on each axis."""
    low, high = np.quantile(points, [0.002, 0.998], axis=1)
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    half = 0.54 * max(float((high - low).max()), 1e-6)
    x, y = (low + high) / 2
    axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half))


def _mark(label: int, look: Theme) -> tuple[str, str]:
    turn, colour = divmod(label, len(look.classes))
    return look.classes[colour], _MARKERS[turn % len(_MARKERS)]


def _legend(figure: Figure, classes: dict[int, str], across: int, look: Theme) -> None:
    marks = [_mark(label, look) for label in classes]
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=6.5, label="class")
        for colour, marker in marks
    ]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=across)
    # Set afterwards: matplotlib leaves out what begins with an underscore.
    for text, (label, name) in zip(legend.get_texts(), classes.items(), strict=True):
        set_name(text, name, f"class {label}")
