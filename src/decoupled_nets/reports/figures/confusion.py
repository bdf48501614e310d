"""Which classes are taken for which, one panel an operator."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..classes import class_names, confusion_matrix
from ..results import Results
from .scripts import set_name
from .style import WIDTH, Theme, ThemeName, grid, operator_colours, styled

MOST_SHOWN = 30  # classes
_MOST_WRITTEN = 12  # classes whose percentages are written into the cells


def confusion(results: Results, operators: list[str], theme: ThemeName = "light") -> Figure:
    """A row a class and a column a class it is taken for: darker for a larger share of the row's images."""
    names = class_names(results)
    short = [name if len(name) <= 14 else f"{name[:13]}…" for name in names]
    with styled(theme) as look:
        rows, columns = grid(len(operators), 2)
        side = min(WIDTH / columns, 4.2)
        figure = Figure(figsize=(WIDTH, rows * (side + 0.35)))
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        colours = operator_colours(results.operators, look)
        for number, (axes, operator) in enumerate(zip(panels, operators, strict=False)):
            _panel(axes, confusion_matrix(results, operator), look)
            axes.set_title(operator, color=colours.get(operator, look.ink), parse_math=False)
            _names(axes, short, label_rows=number % columns == 0)
        for axes in panels[len(operators) :]:
            axes.set_axis_off()
        return figure


def _panel(axes: Axes, shares: NDArray[np.float64], look: Theme) -> None:
    wheel = LinearSegmentedColormap.from_list("share", [look.background, look.positive])
    axes.imshow(np.nan_to_num(shares), cmap=wheel, vmin=0, vmax=1, interpolation="nearest")
    axes.grid(False)
    if len(shares) > _MOST_WRITTEN:
        return
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = look.background if share > 0.55 else look.ink
            axes.text(column, row, f"{100 * share:.0f}", color=colour, ha="center", va="center", fontsize=7)


def _names(axes: Axes, names: list[str], *, label_rows: bool) -> None:
    places = list(range(len(names)))
    axes.set_xticks(places, names, rotation=90, fontsize=7)
    axes.set_yticks(places, names if label_rows else [""] * len(names), fontsize=7)
    labels = [*axes.get_xticklabels(), *(axes.get_yticklabels() if label_rows else [])]
    for number, text in enumerate(labels):
        label = number % len(names)
        set_name(text, names[label], f"class {label}")
