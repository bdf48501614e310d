"""Accuracy over the radius, and attacked images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .scripts import set_name
from .style import WIDTH, ThemeName, operator_colours, styled

Pixels = NDArray[np.float32]
_CHARACTERS = 11  # of a heading, in an inch


def radius_curves(
    nearest: Mapping[str, Sequence[NDArray[np.float64]]],
    radius: float,
    norm: str,
    theme: ThemeName = "light",
) -> Figure:
    """The share of images whose smallest change is larger than a radius, a line a network.

    Args:
        nearest: for every group of networks, one array (n,) a seed: the smallest change of each image, 0
            where it is wrong as it is, infinite where none was found.
        radius: that the attack had; marked.
        norm: ``linf`` (the axis is in units of 1/255) or ``l2``.
        theme: of the page.
    """
    unit = 255.0 if norm == "linf" else 1.0
    most = min(
        max(1.5 * radius, max((_reached(run) for runs in nearest.values() for run in runs), default=0.0)),
        8 * radius,
    ) if radius else 1.0  # fmt: skip
    with styled(theme) as look:
        colours = operator_colours(list(nearest), look)
        figure = Figure(figsize=(WIDTH, 3.4))
        axes = figure.subplots()
        at = np.linspace(0, most, 200)
        lines = []
        for name, runs in nearest.items():
            shares = np.stack([(run[:, None] > at).mean(0) for run in runs]) * 100
            for line in shares if len(runs) > 1 else ():
                axes.plot(unit * at, line, color=colours[name], linewidth=0.8, alpha=0.5)
            axes.plot(unit * at, shares.mean(0), color=colours[name], label="_")
            lines.append(axes.get_lines()[-1])
        axes.axvline(unit * radius, color=look.quiet, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.set_ylim(0, 100)
        axes.set_xlim(0, unit * most)
        axes.set_xlabel("radius, in 1/255" if norm == "linf" else "radius (L2)")
        axes.set_title("Accuracy at most, %, by the largest change allowed")
        legend = axes.legend(lines, ["network"] * len(lines), loc="upper right")
        for number, (text, name) in enumerate(zip(legend.get_texts(), nearest, strict=True)):
            set_name(text, name, f"network {number + 1}")
        return figure


def _reached(run: NDArray[np.float64]) -> float:
    finite = run[np.isfinite(run)]
    return float(np.quantile(finite, 0.95)) if len(finite) else 0.0


def attacked_images(
    images: Pixels,
    classes: Sequence[str],
    changed: Mapping[str, Pixels],
    titles: Mapping[str, Sequence[str]],
    theme: ThemeName = "light",
) -> Figure:
    """A row an image: as it is, then for each network attacked and the change, scaled to be seen.

    Args:
        images: (n, C, H, W), pixels in [0, 1].
        classes: of each image.
        changed: by network, likewise.
        titles: by network, for each image what the network takes it for.
        theme: of the page.
    """
    rows, columns = len(images), 1 + 2 * len(changed)
    height, width = images.shape[2:]
    with styled(theme) as look:
        side = WIDTH / columns
        figure = Figure(figsize=(WIDTH, rows * (side * height / width + 0.17) + 0.3))
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes in panels.flat:
            axes.set_axis_off()
        panels[0][0].set_title("image", fontsize=8)
        for row in range(rows):
            _show(panels[row][0], images[row])
            _caption(panels[row][0], classes[row])
            for k, (name, made) in enumerate(changed.items()):
                left, right = panels[row][1 + 2 * k], panels[row][2 + 2 * k]
                change = made[row] - images[row]
                _show(left, made[row])
                largest = float(np.abs(change).max()) or 1.0
                _show(right, 0.5 + change / (2 * largest))
                if row == 0:  # over both pictures, so nothing else stands in its line
                    most = int(2 * side * _CHARACTERS)
                    set_name(left.set_title("", fontsize=8), _short(name, most), f"network {k + 1}")
                _caption(left, titles[name][row])
                _caption(right, "change" if row == 0 else "", look.quiet)
        return figure


def _caption(axes: Axes, name: str, colour: str | None = None) -> None:
    caption = axes.text(
        0.5, -0.03, "", transform=axes.transAxes, ha="center", va="top", fontsize=7, color=colour
    )
    set_name(caption, _short(name), "class")


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _show(axes: Axes, pixels: Pixels) -> None:
    shown = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    axes.imshow(np.clip(shown, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
