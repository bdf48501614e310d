"""What layers have learned: h and g where the data lies and beyond, and the named functions beside them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ...distillation import DistilledLayer, Fitted
from ...distillation.engine import angle_values, values
from .style import WIDTH, Theme, ThemeName, styled

#: The data is what lies between these quantiles.
_QUANTILES = (0.001, 0.999)
_ROW = 1.75  # inches


def learned_operators(layers: Sequence[DistilledLayer], theme: ThemeName = "light") -> Figure:
    """A row for each layer: h over u = ‖x‖ / mean, and g over t = √d cos θ, each with the data below it.

    The function is solid where the data lies and dotted beyond; the nearest named function is dashed, the
    others are grey, each as near as its constants bring it.
    """
    with styled(theme) as look:
        figure = Figure(figsize=(WIDTH, _ROW * len(layers) + 0.5), layout="constrained")
        panels = figure.subplots(len(layers), 2, squeeze=False)
        for (left, right), layer in zip(panels, layers, strict=True):
            _magnitude(left, layer, look)
            _angle(right, layer, look)
        panels[-1, 0].set_xlabel("u = ‖x‖ / its mean")
        panels[-1, 1].set_xlabel("t = √d cos θ")
        return figure


def _magnitude(axes: Axes, layer: DistilledLayer, look: Theme) -> None:
    own = layer.densities
    named = [values(fitted, own) for fitted in layer.magnitudes]
    counts = _row(own.size, layer)
    _draw(axes, own.centres, layer.functions[0], named, counts, look, odd=False)
    where = layer.name if layer.row is None else f"{layer.name}, group {layer.row}"
    _caption(axes, f"h of {where}", layer.magnitudes[0], layer.learned.learned[0] is not None, look)


def _angle(axes: Axes, layer: DistilledLayer, look: Theme) -> None:
    own = layer.densities
    unit = own.fan_in**0.5
    named = [angle_values(fitted, own) * unit for fitted in layer.angles]
    _draw(axes, own.centres, layer.functions[1] * unit, named, _row(own.turn, layer), look, odd=True)
    _caption(axes, "√d g", layer.angles[0], layer.learned.learned[1] is not None, look)


def _row(counts: Tensor, layer: DistilledLayer) -> Tensor:
    return counts.sum(0) if layer.row is None or layer.row >= len(counts) else counts[layer.row]


def _draw(
    axes: Axes, at: Tensor, learned: Tensor, named: list[Tensor], counts: Tensor, look: Theme, *, odd: bool
) -> None:
    share = counts.cumsum(0) / counts.sum()
    low = 0 if odd else int(torch.searchsorted(share, _QUANTILES[0]))
    high = min(int(torch.searchsorted(share, _QUANTILES[1])), len(at) - 1)
    last = min(int(1.35 * high) + 4, len(at))
    at, learned, named = at[:last], learned[:last], [one[:last] for one in named]
    inside = slice(low, high + 1)
    top = 1.25 * max(float(learned[: high + 2].max()), 1e-6)
    bottom = -top if odd else min(0.0, 1.25 * float(learned[: high + 2].min()))
    for index, one in reversed(list(enumerate(named))):
        style = {"color": look.series[1], "linestyle": (0, (4, 2)), "zorder": 4} if not index else {
            "color": look.quiet, "alpha": 0.45, "linewidth": 0.8, "zorder": 2}  # fmt: skip
        _line(axes, at, one, odd, **style)
    _line(axes, at, learned, odd, color=look.series[0], linestyle=(0, (1, 1.2)), linewidth=1.2, zorder=3)
    _line(axes, at[inside], learned[inside], odd, color=look.series[0], linewidth=2.0, zorder=3)
    height = counts[:last] / counts.max() * 0.3 * (top - bottom)
    sides = ((at, height), (-at, height)) if odd else ((at, height),)
    for x, y in sides:
        axes.fill_between(x, bottom, bottom + y, color=look.series[0], alpha=0.18, linewidth=0, zorder=1)
    axes.set(ylim=(bottom, top), xlim=(-float(at[-1]) if odd else 0, float(at[-1])))


def _line(axes: Axes, at: Tensor, value: Tensor, odd: bool, **style: object) -> None:
    if odd:
        at, value = torch.cat([-at.flip(0), at]), torch.cat([-value.flip(0), value])
    axes.plot(at, value, **style)  # type: ignore[arg-type]


def _caption(axes: Axes, what: str, fitted: Fitted, learned: bool, look: Theme) -> None:
    """The title, and within what is nearest."""
    axes.set_title(what, fontsize=9, loc="left")
    said = f"{fitted}: {100 * fitted.explained:.1f} %" if learned else f"{fitted}, not learned"
    axes.text(
        0.03, 0.94, said, transform=axes.transAxes, va="top", fontsize=8, color=look.series[1],
        bbox={"facecolor": look.background, "edgecolor": "none", "alpha": 0.75, "pad": 1.5},
    )  # fmt: skip
