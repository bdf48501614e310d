"""Accuracy by corruption and over severity, and one picture under all corruptions.

Dots with intervals, as for scores. The axis of accuracy is not cut where dots end: corruptions may take it
anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from .scripts import set_name
from .style import WIDTH, ThemeName, grid, operator_colours, styled

Pixels = NDArray[np.float32]
_MOST_COLUMNS = 4
_CHARACTERS = 90  # of names that a line of a legend holds
_MOST_PIXELS = 224  # of a side of a picture in the grid: more cannot be seen


class Point(NamedTuple):
    """An accuracy in [0, 1], and its interval where it has one."""

    value: float
    low: float | None
    high: float | None


def corruption_dots(
    values: Mapping[str, Mapping[str, Point]], clean: Mapping[str, float], theme: ThemeName = "light"
) -> Figure:
    """A line a corruption, a dot a network with its interval.

    Args:
        values: by corruption's title and network.
        clean: accuracy of each network without corruption; dashed.
        theme: of the page.
    """
    names = list(clean)
    with styled(theme) as look:
        colours = operator_colours(names, look)
        height = max(0.3, 0.13 * len(names) + 0.14)
        figure = Figure(
            figsize=(WIDTH, 1.1 + height * len(values) + 0.2 * -(-len(names) // _beside_names(names)))
        )
        axes = figure.subplots()
        for row, own in enumerate(values.values()):
            for name, y in zip(names, _beside(row, len(names)), strict=True):
                point = own[name]
                if point.low is not None and point.high is not None:
                    axes.plot([100 * point.low, 100 * point.high], [y, y], color=colours[name], linewidth=2)
                axes.plot(100 * point.value, y, "o", color=colours[name], markersize=5.5)
        for name in names:
            axes.axvline(100 * clean[name], color=colours[name], linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        for row in range(1, len(values)):
            axes.axhline(row - 0.5, color=look.grid, linewidth=0.8, zorder=-1)
        axes.set_yticks(range(len(values)), list(values), fontsize=9.5, parse_math=False)
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_title("Accuracy by corruption, %")
        axes.set_xlabel("mean over severities, with 95 % intervals; dashed: no corruption")
        _legend(figure, names, colours)
        return figure


def _beside(row: int, count: int) -> list[float]:
    """Heights of several dots of one row."""
    reach = 0.2 if count > 1 else 0.0
    return [float(y) for y in row + np.linspace(-reach, reach, count)]


def severity_curves(
    curves: Mapping[str, Mapping[str, Sequence[tuple[int, Point]]]], theme: ThemeName = "light"
) -> Figure:
    """Small multiples: a panel a corruption, a line a network, from the image as it is to severity 5.

    Args:
        curves: by corruption's title and network: severities with the accuracy at each.
        theme: of the page.
    """
    rows, columns = grid(len(curves), _MOST_COLUMNS)
    names = list(next(iter(curves.values())))
    with styled(theme) as look:
        colours = operator_colours(names, look)
        figure = Figure(figsize=(WIDTH, 1.45 * rows + 0.6 + 0.2 * -(-len(names) // _beside_names(names))))
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes, title in zip(panels.flat, curves, strict=False):
            for name, line in curves[title].items():
                _curve(axes, line, colours[name])
            axes.set_title(title, fontsize=8.5, parse_math=False, pad=3)
        for axes in panels.flat[len(curves) :]:
            axes.set_axis_off()
        severities = [severity for severity, _ in next(iter(next(iter(curves.values())).values()))]
        for axes in panels.flat[: len(curves)]:
            axes.set_xticks(severities)
            axes.set_ylim(0, 100)
            axes.set_yticks([0, 50, 100])
            axes.tick_params(labelsize=8)
        below = [panels.flat[k] for k in range(len(curves)) if k + columns >= len(curves)]
        for axes in below:  # also above an empty place
            axes.tick_params(labelbottom=True)
        figure.suptitle("Accuracy, %, over severity (0: no corruption)", x=0.01, ha="left", fontsize=10.5)
        _legend(figure, names, colours)
        return figure


def _curve(axes: Axes, line: Sequence[tuple[int, Point]], colour: str) -> None:
    at = [severity for severity, _ in line]
    axes.plot(at, [100 * point.value for _, point in line], color=colour, linewidth=1.6)
    for severity, point in line:
        if point.low is not None and point.high is not None:
            axes.plot([severity] * 2, [100 * point.low, 100 * point.high], color=colour, linewidth=1)


def corruption_grid(
    plain: Pixels,
    images: Mapping[str, Sequence[Pixels]],
    severities: Sequence[int],
    theme: ThemeName = "light",
) -> Figure:
    """A row a corruption with one picture as it is and at every severity.

    Args:
        plain: (H, W, C), pixels in [0, 1].
        images: by corruption's title, one picture a severity.
        severities: their numbers.
        theme: of the page.
    """
    height, width = plain.shape[:2]
    columns = 1 + len(severities)
    label = 1.35  # inches for the titles
    side = (WIDTH - label) / columns
    with styled(theme) as look:
        figure = Figure(figsize=(WIDTH, len(images) * (side * height / width + 0.04) + 0.35))
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)  # type: ignore[union-attr,call-arg]
        panels = figure.subplots(len(images), columns, squeeze=False)
        for row, (title, shown) in zip(panels, images.items(), strict=True):
            for axes, pixels in zip(row, [plain, *shown], strict=True):
                _picture(axes, pixels)
            row[0].set_ylabel(
                title, rotation=0, ha="right", va="center", fontsize=8.5, color=look.ink, parse_math=False
            )
        for axes, text in zip(panels[0], ["as it is", *map(str, severities)], strict=True):
            axes.set_title(text, loc="center", fontsize=8.5, fontweight="normal", pad=3)
        return figure


def _picture(axes: Axes, pixels: Pixels) -> None:
    step = max(1, -(-max(pixels.shape[:2]) // _MOST_PIXELS))
    axes.imshow(
        np.clip(pixels[::step, ::step].squeeze(), 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _beside_names(names: Sequence[str]) -> int:
    """How many names stand in a line of the legend."""
    return max(1, min(3, len(names), _CHARACTERS // (max(map(len, names)) + 6)))


def _legend(figure: Figure, names: Sequence[str], colours: Mapping[str, str]) -> None:
    handles = [
        Line2D([], [], color=colours[name], marker="o", markersize=5.5, linewidth=2, label="network")
        for name in names
    ]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=_beside_names(names))
    for number, (text, name) in enumerate(zip(legend.get_texts(), names, strict=True)):
        set_name(text, name, f"network {number + 1}")
