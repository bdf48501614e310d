"""Test images, their small maps, their depth, and what the networks of some operators make of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...tasks._examples import pixels_of
from ..results import Results
from .style import WIDTH, ThemeName, operator_colours, styled

Values = npt.NDArray[np.float64]


def depths(results: Results, theme: ThemeName = "light") -> Figure:
    """A row an image: the image, its small map, its depth, and the map and the error of every operator."""
    given, made = results.examples["given"], results.examples["made"]
    titles = ["image", "small map", "depth"]
    for operator in made:
        titles += [operator, "its error"]
    rows = len(given["images"])
    height, width = np.asarray(pixels_of(given["truth"][0])).shape
    with styled(theme) as look:
        side = WIDTH / len(titles)
        figure = Figure(figsize=(WIDTH, rows * (side * height / width + 0.12) + 0.3))
        panels = figure.subplots(rows, len(titles), squeeze=False)
        colours = operator_colours(results.operators, look)
        for axes, title in zip(panels[0], titles, strict=True):
            axes.set_title(title, color=colours.get(title, look.ink), parse_math=False, fontsize=9.5)
        for number, row in enumerate(panels):
            _row(row, given, {operator: found[number] for operator, found in made.items()}, number)
        return figure


def _row(row: Values, given: dict[str, list[str]], found: dict[str, str], number: int) -> None:
    low, high = map(float, given["range"][number].split())
    truth = depth_of(given["truth"][number], low, high)
    maps = {operator: depth_of(text, low, high) for operator, text in found.items()}
    errors = {operator: np.abs(values - truth) for operator, values in maps.items()}
    most = max((float(np.nanpercentile(error, 99.5)) for error in errors.values()), default=1.0)
    _show(row[0], np.asarray(pixels_of(given["images"][number])), "gray", 0, 255)
    _show(row[1], depth_of(given["small"][number], low, high), "viridis", low, high)
    _show(row[2], truth, "viridis", low, high)
    for k, operator in enumerate(maps):
        _show(row[3 + 2 * k], maps[operator], "viridis", low, high)
        _show(row[4 + 2 * k], errors[operator], "magma", 0, max(most, 1e-9))


def depth_of(text: str, low: float, high: float) -> Values:
    """The values (H, W) of a picture of depth, NaN for none."""
    places = np.asarray(pixels_of(text)).astype(np.float64)
    return np.where(places > 0, low + (places - 1) / 65534 * (high - low), np.nan)


def _show(axes: Axes, pixels: npt.NDArray[np.generic], colours: str, low: float, high: float) -> None:
    axes.set_axis_off()
    axes.imshow(pixels, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
