"""Test images, their masks, and what the networks of some operators make of them."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ...tasks._examples import pixels_of
from ..results import Results
from .scripts import set_name
from .style import WIDTH, ThemeName, heading_size, operator_colours, styled

_VOID = "#000000"
_MOST_NAMED = 20


def predictions(results: Results, theme: ThemeName = "light") -> Figure:
    """A row an image: the image, its mask, and the prediction of every operator's network."""
    given, made = results.examples["given"], results.examples["made"]
    columns = {"image": given["images"], "mask": given["masks"], **made}
    names = [str(name) for name in results.data.get("classes", [])]
    rows, shown = len(given["images"]), min(len(names), _MOST_NAMED)
    width, height = pixels_of(given["images"][0]).size
    with styled(theme) as look:
        side = WIDTH / len(columns)
        figure = Figure(figsize=(WIDTH, rows * side * height / width + 0.3 + 0.22 * -(-(shown + 1) // 5)))
        panels = figure.subplots(rows, len(columns), squeeze=False)
        colours, size = operator_colours(results.operators, look), heading_size(side, columns)
        for k, (title, pictures) in enumerate(columns.items()):
            panels[0][k].set_title(title, color=colours.get(title, look.ink), parse_math=False, fontsize=size)
            for axes, text in zip(panels[:, k], pictures, strict=True):
                _panel(axes, text, len(names), is_mask=title != "image")
        _legend(figure, names[:shown])
        return figure


def class_colours(classes: int) -> list[str]:
    """A colour a class; after 20 they begin anew."""
    wheel = colormaps["tab20"]
    return [to_hex(wheel(k % 20)) for k in range(classes)]


def _panel(axes: Axes, text: str, classes: int, *, is_mask: bool) -> None:
    pixels = np.asarray(pixels_of(text))
    axes.set_axis_off()
    if is_mask:
        void = np.where(pixels < classes, pixels, classes)
        wheel = ListedColormap([*class_colours(classes), _VOID])
        axes.imshow(void, cmap=wheel, vmin=-0.5, vmax=classes + 0.5, interpolation="nearest")
    else:
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)


def _legend(figure: Figure, names: list[str]) -> None:
    colours = [*class_colours(len(names)), _VOID]
    handles = [Patch(color=colour, label="class") for colour in colours]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=5)
    for number, (text, name) in enumerate(zip(legend.get_texts(), [*names, "no class"], strict=True)):
        set_name(text, name if len(name) <= 24 else f"{name[:23]}…", f"class {number}")
