"""Test images with their objects, and the boxes that the networks of some operators find."""

from __future__ import annotations

import json
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ...tasks._examples import pixels_of
from ..results import Results
from .predictions import class_colours
from .scripts import set_name
from .style import WIDTH, ThemeName, heading_size, operator_colours, styled

_MOST_NAMED = 20


def boxes(results: Results, theme: ThemeName = "light") -> Figure:
    """A row an image: its objects, a crowd dashed, and what every operator's network finds."""
    given, made = results.examples["given"], results.examples["made"]
    columns = {"objects": given["boxes"], **made}
    names = [str(name) for name in results.data.get("classes", [])]
    wheel, shown = class_colours(len(names)), names[:_MOST_NAMED]
    rows = len(given["images"])
    width, height = pixels_of(given["images"][0]).size
    with styled(theme) as look:
        side = WIDTH / len(columns)
        figure = Figure(figsize=(WIDTH, rows * side * height / width + 0.3 + 0.22 * -(-len(shown) // 5)))
        panels = figure.subplots(rows, len(columns), squeeze=False)
        colours, size = operator_colours(results.operators, look), heading_size(side, columns)
        for k, (title, texts) in enumerate(columns.items()):
            panels[0][k].set_title(title, color=colours.get(title, look.ink), parse_math=False, fontsize=size)
            for axes, image, text in zip(panels[:, k], given["images"], texts, strict=True):
                axes.set_axis_off()
                axes.imshow(pixels_of(image), cmap="gray", vmin=0, vmax=255)
                _draw(axes, text, wheel, is_truth=k == 0)
        handles = [Patch(color=wheel[k], label="class") for k in range(len(shown))]
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=5)
        for number, (label, name) in enumerate(zip(legend.get_texts(), shown, strict=True)):
            set_name(label, name if len(name) <= 24 else f"{name[:23]}…", f"class {number}")
        return figure


def _draw(axes: Axes, text: str, wheel: list[str], *, is_truth: bool) -> None:
    """Boxes of one image; the last number is 1 for a crowd in truth, and a score in what is found."""
    for x1, y1, x2, y2, kind, last in json.loads(text):
        dashed = "--" if is_truth and last else "-"
        corner = (x1 - 0.5, y1 - 0.5)  # pixels are drawn around whole numbers
        edge: dict[str, Any] = {"edgecolor": wheel[int(kind)], "linewidth": 1.4, "linestyle": dashed}
        axes.add_patch(Rectangle(corner, x2 - x1, y2 - y1, fill=False, **edge))
