"""What operators have learned: h over patch norms and g over cosines, the data below, named ones behind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ...distillation import Curve, Distillation, DistilledLayer
from ...distillation.fits import Fit
from ...distillation.report import percent
from .style import WIDTH, Theme, ThemeName, styled

#: From so many layers on two stand beside each other.
TWO_COLUMNS = 5
_HEIGHT = 1.35  # inches a row
_DENSITY = 0.32  # of the height of a panel


def learned_operators(report: Distillation, theme: ThemeName = "light") -> Figure:
    """A row a layer: h over ‖x‖/m and √d g over t = √d cos θ as learned, beyond the data dashed.

    Behind them the named ones, each as near as it comes, with R² about the mean of the nearest; below, how
    often the data are there. A half that is not learned is drawn in grey alone.
    """
    layers = report.layers
    columns = 2 if len(layers) >= TWO_COLUMNS else 1
    rows = -(-len(layers) // columns)
    with styled(theme) as look:
        figure = Figure(figsize=(WIDTH * (1.0 if columns == 1 else 1.5), rows * (_HEIGHT + 0.55) + 0.55))
        parts = figure.subfigures(1, columns, squeeze=False, wspace=0.04)
        for column, part in enumerate(parts[0]):
            shown = layers[column * rows : (column + 1) * rows]
            _column(part, shown, rows, look)
        _legend(figure, look)
        return figure


def _column(part: SubFigure, layers: Sequence[DistilledLayer], rows: int, look: Theme) -> None:
    panels = part.subplots(rows, 2, squeeze=False)
    for axes in panels[len(layers) :].ravel():
        axes.set_axis_off()
    for index, (layer, (left, right)) in enumerate(zip(layers, panels, strict=False)):
        _panel(left, layer.h_curve, look, learned=layer.h is not None)
        _panel(right, layer.g_curve, look, learned=layer.g is not None)
        left.set_title(layer.label, parse_math=False, pad=19)
        for axes, fit in ((left, layer.h), (right, layer.g)):
            text = axes.text(
                0, 1.04, _found(fit), transform=axes.transAxes, color=look.series[1], fontsize=8.5
            )
            text.set_in_layout(False)  # as wide as it is, it must not narrow its panel
        if index == len(layers) - 1:
            left.set_xlabel("h over ‖x‖ / m")
            right.set_xlabel("√d g over t = √d cos θ")


def _found(fit: Fit | None) -> str:
    """``seg, ρ 1.1 m, β −0.2; 99.4 %``: short enough for a panel of two columns."""
    if fit is None:
        return "not learned"
    given = ("ρ", fit.radius, " m"), ("β", fit.beta, ""), ("k", fit.k, "")
    said = [f"{name} {value:.2g}{unit}" for name, value, unit in given if value is not None]
    return f"{', '.join([fit.name, *said]).replace('-', '−')}; {percent(fit.explained)}"


def _panel(axes: Axes, curve: Curve, look: Theme, *, learned: bool) -> None:
    at, values = curve.at.numpy(), curve.learned.numpy()
    low, high = float(min(values.min(), 0.0)), float(max(values.max(), 0.0))
    room = 0.08 * (high - low)
    axes.set(xlim=(at[0], at[-1]), ylim=(low - room * (low < 0), high + 1.5 * room))
    _density(axes, curve, look)
    if not learned:
        axes.plot(at, values, color=look.quiet, linewidth=1.5, zorder=3)
        return
    for name, other in curve.named.items():
        if name != curve.nearest:
            axes.plot(at, other.numpy(), color=look.quiet, linewidth=0.9, alpha=0.45, zorder=2)
    axes.plot(
        at, curve.named[curve.nearest].numpy(), color=look.series[1], linewidth=3.4, alpha=0.55, zorder=3
    )
    inside = (at >= curve.data[0]) & (at <= curve.data[1])
    axes.plot(at, np.where(inside, values, np.nan), color=look.series[0], linewidth=1.6, zorder=5)
    axes.plot(at, values, color=look.series[0], linewidth=1.2, linestyle=(0, (3, 2)), alpha=0.7, zorder=4)


def _density(axes: Axes, curve: Curve, look: Theme) -> None:
    """On an axis of its own that is not drawn, up to a third of the panel."""
    below = axes.twinx()
    density = curve.density.numpy()
    below.stairs(density, curve.edges.numpy(), fill=True, color=look.quiet, alpha=0.22, linewidth=0)
    below.set_ylim(0, max(float(density.max()), 1e-12) / _DENSITY)
    below.set_axis_off()
    axes.set_zorder(below.get_zorder() + 1)
    axes.patch.set_visible(False)


def _legend(figure: Figure, look: Theme) -> None:
    learned = look.series[0]
    entries = [
        Line2D([], [], color=learned, linewidth=1.6, label="learned"),
        Line2D([], [], color=learned, linewidth=1.2, linestyle=(0, (3, 2)), label="beyond the data"),
        Line2D([], [], color=look.series[1], linewidth=3.4, alpha=0.55, label="nearest named"),
        Line2D([], [], color=look.quiet, linewidth=0.9, alpha=0.6, label="other named"),
        Patch(color=look.quiet, alpha=0.22, linewidth=0, label="data"),
    ]
    figure.legend(
        handles=entries, loc="outside upper center", ncols=len(entries), columnspacing=1.1, handlelength=1.7
    )
