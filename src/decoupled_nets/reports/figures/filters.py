"""Dynamic filters: where they lie in the image, and how a spatial and a channel filter make one."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from ..filters import GeneratedFilters
from .style import WIDTH, Theme, ThemeName, styled

_TILE = 0.62  # inches


def dynamic_filters(filters: GeneratedFilters, theme: ThemeName = "light") -> Figure:
    """The image with marked pixels, every tap as a map, and a table of filters.

    The table's first row are the spatial filters at the marks, its first column the channel filters; inside
    is what both make of each other. Each of the three has its own scale, zero in the middle.
    """
    with styled(theme) as look:
        colours = LinearSegmentedColormap.from_list(
            "diverging", [look.negative, look.background, look.positive]
        )
        rows, columns = filters.combined.shape[:2]
        heights = [3.0, _TILE * (rows + 1) + 0.75]
        figure = Figure(figsize=(WIDTH, sum(heights)))
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
        left, right = upper.subfigures(1, 2, squeeze=False)[0]
        _image(left.subplots(), filters, look)
        _tap_maps(right, filters, colours)
        _table(lower, filters, colours, look, rows, columns)
        return figure


def _image(axes: Axes, filters: GeneratedFilters, look: Theme) -> None:
    pixels = filters.image.clamp(0, 1).permute(1, 2, 0).numpy()
    axes.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., :3], cmap="gray", vmin=0, vmax=1)
    scale = np.array(filters.image.shape[1:]) / np.array(filters.maps.shape[2:])
    for number, place in enumerate(filters.positions.numpy(), 1):
        row, column = (place + 0.5) * scale - 0.5
        axes.annotate(
            str(number), (column, row), ha="center", va="center", fontsize=8, color=look.ink,
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": look.background, "edgecolor": look.ink},
        )  # fmt: skip
    axes.set_title("Image")
    _bare(axes)


def _tap_maps(figure: SubFigure, filters: GeneratedFilters, colours: Colormap) -> None:
    """One map a tap, laid out like the window."""
    limit = _limit(filters.maps.numpy())
    height, width = filters.maps.shape[:2]
    figure.suptitle("Spatial filters, tap by tap", fontsize=10.5, fontweight="bold")
    for row, line in enumerate(figure.subplots(height, width, squeeze=False)):
        for column, axes in enumerate(line):
            axes.imshow(filters.maps[row, column].numpy(), cmap=colours, vmin=-limit, vmax=limit)
            _bare(axes)


def _table(
    figure: SubFigure, filters: GeneratedFilters, colours: Colormap, look: Theme, rows: int, columns: int
) -> None:
    sign = "×" if filters.combine == "mul" else "+"
    figure.suptitle(
        f"{filters.layer}: spatial (top) {sign} channel filters (left)",
        fontsize=10.5, fontweight="bold",
    )  # fmt: skip
    note = "Blue is positive, orange negative; top row, left column and inside each have their own scale."
    figure.supxlabel(note, fontsize=8.5, color=look.quiet)
    panels = figure.subplots(rows + 1, columns + 1, squeeze=False)
    panels[0, 0].text(0.5, 0.5, sign, ha="center", va="center", fontsize=14, color=look.quiet)
    panels[0, 0].set_axis_off()
    for column in range(columns):
        axes = panels[0, column + 1]
        _tile(axes, filters.spatial[column].numpy(), _limit(filters.spatial.numpy()), colours, look)
        axes.set_title(str(column + 1), loc="center", fontsize=9, pad=3)
    for row in range(rows):
        axes = panels[row + 1, 0]
        _tile(axes, filters.channel[row].numpy(), _limit(filters.channel.numpy()), colours, look)
        axes.set_ylabel(
            f"channel\n{int(filters.channels[row])}", fontsize=8.5, rotation=0, ha="right", va="center"
        )
        for column in range(columns):
            combined = filters.combined[row, column].numpy()
            _tile(panels[row + 1, column + 1], combined, _limit(filters.combined.numpy()), colours, look)


def _tile(axes: Axes, taps: NDArray[np.float32], limit: float, colours: Colormap, look: Theme) -> None:
    axes.imshow(taps, cmap=colours, vmin=-limit, vmax=limit)
    _bare(axes)
    for spine in axes.spines.values():
        spine.set(visible=True, color=look.grid, linewidth=0.8)


def _limit(values: NDArray[np.float32]) -> float:
    return max(float(np.abs(values).max()), 1e-12)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
