"""Figures of corruptions, by what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import same_color

from decoupled_nets.reports.figures.corruptions import (
    Point,
    corruption_dots,
    corruption_grid,
    severity_curves,
)
from decoupled_nets.reports.figures.style import THEMES, operator_colours, png

NAMES = ["conv", "tanh-cos"]
VALUES = {
    "Fog": {"conv": Point(0.5, 0.45, 0.56), "tanh-cos": Point(0.7, None, None)},
    "JPEG": {"conv": Point(0.8, 0.75, 0.84), "tanh-cos": Point(0.3, 0.2, 0.35)},
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_dots_stand_at_their_values_with_their_intervals(theme) -> None:
    figure = corruption_dots(VALUES, {"conv": 0.9, "tanh-cos": 0.85}, theme)
    (axes,) = figure.axes
    dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
    found = [(round(line.get_xdata()[0]), round(line.get_ydata()[0])) for line in dots]
    assert found == [(50, 0), (70, 0), (80, 1), (30, 1)]
    colours = operator_colours(NAMES, THEMES[theme])
    assert all(
        same_color(line.get_color(), colours[name]) for line, name in zip(dots, NAMES * 2, strict=True)
    )
    ends = [tuple(line.get_xdata()) for line in axes.get_lines() if len(line.get_xdata()) == 2]
    assert sum(end == pytest.approx((45, 56)) for end in ends) == 1
    dashed = [line.get_xdata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert dashed == [90, 85]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Fog", "JPEG"]
    assert axes.get_xlim() == (0, 100)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == NAMES
    assert same_color(figure.get_facecolor(), THEMES[theme].background)
    assert png(figure)


def test_curves_go_from_no_corruption_to_the_highest_severity() -> None:
    line = [(0, Point(0.9, 0.88, 0.92)), (1, Point(0.6, 0.5, 0.7)), (5, Point(0.2, None, None))]
    curves = {title: {"conv": line, "tanh-cos": line[::-1][::-1]} for title in ("Fog", "Snow", "a", "b", "c")}
    figure = severity_curves(curves)
    assert [axes.get_title(loc="left") for axes in figure.axes][:5] == list(curves)
    axes = figure.axes[0]
    drawn = [line for line in axes.get_lines() if len(line.get_xdata()) == 3]
    assert [list(one.get_xdata()) for one in drawn] == [[0, 1, 5]] * 2
    assert list(drawn[0].get_ydata()) == pytest.approx([90, 60, 20])
    bars = [list(one.get_ydata()) for one in axes.get_lines() if len(one.get_xdata()) == 2]
    assert bars[:2] == [pytest.approx([88, 92]), pytest.approx([50, 70])]
    assert axes.get_ylim() == (0, 100)
    assert not figure.axes[-1].axison  # an empty place
    assert png(figure)


@pytest.mark.parametrize(("height", "width", "channels"), [(28, 28, 1), (32, 32, 3), (300, 500, 3)])
def test_the_grid_shows_every_picture_in_its_place(height, width, channels) -> None:
    rng = np.random.default_rng(0)
    plain, *others = rng.random((5, height, width, channels), dtype=np.float32)
    figure = corruption_grid(plain, {"Fog": others[:2], "$now": others[2:]}, [1, 5])
    shown = [axes.images[0].get_array().data for axes in figure.axes]
    step = -(-max(height, width) // 224)
    for pixels, wanted in zip(shown, [plain, *others[:2], plain, *others[2:]], strict=True):
        assert np.array_equal(pixels, wanted[::step, ::step].squeeze())
    assert [axes.get_title() for axes in figure.axes[:3]] == ["as it is", "1", "5"]
    assert [figure.axes[k].get_ylabel() for k in (0, 3)] == ["Fog", "$now"]
    assert all(axes.images[0].get_clim() == (0, 1) for axes in figure.axes)
    tall, wide = figure.get_size_inches()[::-1]
    assert wide == 6.0
    assert tall == pytest.approx(2 * ((6 - 1.35) / 3 * height / width + 0.04) + 0.35)


@pytest.mark.parametrize("name", ["conv", "sphere-cos (N-FGSM within L∞ 8/255), seed"])
def test_legends_stay_within_their_figures(name):
    """However long the names of networks are."""
    names = [f"{name} {k}" for k in range(4)]
    point = Point(0.8, 0.7, 0.9)
    dots = corruption_dots({"Fog": dict.fromkeys(names, point)}, dict.fromkeys(names, 0.9))
    curves = severity_curves({"Fog": {name: [(0, point), (5, point)] for name in names}})
    for figure in (dots, curves):
        figure.canvas.draw()
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0
