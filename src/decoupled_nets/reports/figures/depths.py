"""Test images, their small maps, their depth, and what the networks of some operators make of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...tasks._examples import pixels_of
from ..results import Results
from .style import WIDTH, ThemeName, heading_size, operator_colours, styled

Values = npt.NDArray[np.float64]


def depths(results: Results, theme: ThemeName = "light") -> Figure:
    """Two rows an image: image, depth and the map of every operator; small map and the maps' errors."""
    given, made = results.examples["given"], results.examples["made"]
    titles = ["image", "depth", *made]
    images = len(given["images"])
    height, width = np.asarray(pixels_of(given["truth"][0])).shape
    with styled(theme) as look:
        side = WIDTH / len(titles)
        figure = Figure(figsize=(WIDTH, images * 2 * (side * height / width + 0.16) + 0.3))
        panels = figure.subplots(2 * images, len(titles), squeeze=False)
        colours = operator_colours(results.operators, look)
        size = heading_size(side, titles)
        for axes, title in zip(panels[0], titles, strict=True):
            axes.set_title(title, color=colours.get(title, look.ink), parse_math=False, fontsize=size)
        for k in range(images):
            found = {operator: texts[k] for operator, texts in made.items()}
            _pair(panels[2 * k : 2 * k + 2], given, found, k)
            first, second = panels[2 * k + 1][:2]
            first.set_title("small map", color=look.quiet, fontsize=min(8.0, size))
            second.text(0.95, 0.5, "errors", color=look.quiet, fontsize=min(8.0, size), ha="right")
        return figure


def _pair(rows: Values, given: dict[str, list[str]], found: dict[str, str], number: int) -> None:
    low, high = map(float, given["range"][number].split())
    truth = depth_of(given["truth"][number], low, high)
    maps = [depth_of(text, low, high) for text in found.values()]
    errors = [np.abs(values - truth) for values in maps]
    most = max((float(np.nanpercentile(error, 99.5)) for error in errors), default=1.0)
    _show(rows[0][0], np.asarray(pixels_of(given["images"][number])), "gray", 0, 255)
    _show(rows[1][0], depth_of(given["small"][number], low, high), "viridis", low, high)
    _show(rows[0][1], truth, "viridis", low, high)
    rows[1][1].set_axis_off()
    for k, (values, error) in enumerate(zip(maps, errors, strict=True)):
        _show(rows[0][2 + k], values, "viridis", low, high)
        _show(rows[1][2 + k], error, "magma", 0, max(most, 1e-9))


def depth_of(text: str, low: float, high: float) -> Values:
    """The values (H, W) of a picture of depth, NaN for none."""
    places = np.asarray(pixels_of(text)).astype(np.float64)
    return np.where(places > 0, low + (places - 1) / 65534 * (high - low), np.nan)


def _show(axes: Axes, pixels: npt.NDArray[np.generic], colours: str, low: float, high: float) -> None:
    axes.set_axis_off()
    axes.imshow(pixels, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
