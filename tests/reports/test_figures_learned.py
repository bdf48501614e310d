"""What the picture of learned operators draws: lines, data, words, colours."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from matplotlib.colors import same_color

import decoupled_nets as dn
from decoupled_nets.reports import figures
from decoupled_nets.reports.figures.learned_operators import TWO_COLUMNS
from decoupled_nets.reports.figures.style import THEMES

LIGHT = THEMES["light"]


@pytest.fixture(scope="module")
def report():
    torch.manual_seed(0)
    layer = dn.DecoupledConv2d(3, 6, 3, operator="spline-spline")
    torch.nn.init.uniform_(layer.h_parameters, 0.2, 1.5)
    x = torch.rand(16, 3, 8, 8) * torch.linspace(0.1, 2, 16)[:, None, None, None]
    names = ["tanh-cos", "seg-cos", "sphere-cos", "ball-sqcos"]
    return dn.distil(torch.nn.Sequential(layer, torch.nn.ReLU()), [x], candidates=names)


def panels(figure):
    """Those with lines, in pairs by layer: h and g."""
    found = [axes for axes in figure.axes if len(axes.get_lines()) > 0]
    return list(zip(found[::2], found[1::2], strict=True))


def lines(axes, colour, style=None):
    return [
        line
        for line in axes.get_lines()
        if same_color(line.get_color(), colour) and (style is None or line.get_linestyle() == style)
    ]


def test_lines_are_the_functions(report):
    (layer,) = report.layers
    ((left, right),) = panels(figures.learned_operators(report))
    for axes, curve in ((left, layer.h_curve), (right, layer.g_curve)):
        (solid,) = lines(axes, LIGHT.series[0], "-")
        (dashed,) = lines(axes, LIGHT.series[0], "--")
        (nearest,) = lines(axes, LIGHT.series[1])
        np.testing.assert_allclose(dashed.get_ydata(), curve.learned)
        np.testing.assert_allclose(nearest.get_ydata(), curve.named[curve.nearest])
        inside = np.isfinite(np.asarray(solid.get_ydata()))
        at = np.asarray(solid.get_xdata())
        assert inside.tolist() == ((at >= curve.data[0]) & (at <= curve.data[1])).tolist()
        assert 0 < inside.sum() < len(inside)  # beyond the data there is no solid line
        behind = [list(line.get_ydata()) for line in lines(axes, LIGHT.quiet)]
        assert sorted(behind) == sorted(v.tolist() for k, v in curve.named.items() if k != curve.nearest)


def test_curves_are_those_of_the_layer(report):
    """The learned lines are the layer's own functions, by its own methods; the named ones by the operator."""
    (layer,) = report.layers
    torch.manual_seed(0)
    own = dn.DecoupledConv2d(3, 6, 3, operator="spline-spline")
    torch.nn.init.uniform_(own.h_parameters, 0.2, 1.5)
    own.eval()
    curve = layer.h_curve
    expected = own.h((curve.at * layer.mean_norm)[:, None].float())[:, 0].double()
    torch.testing.assert_close(curve.learned, expected.detach(), rtol=1e-4, atol=1e-4)
    fit = layer.h
    operator = dn.Operator(fit.name, **({"beta": fit.beta} if fit.beta is not None else {}))
    radius = (fit.radius or 1.0) * layer.mean_norm
    named = fit.scale * operator.h(curve.at * layer.mean_norm, radius)
    torch.testing.assert_close(curve.named[fit.name], named)
    expected = own.operator.g(layer.g_curve.at / 27**0.5, parameters=own.g_parameters[0].double(), fan_in=27)
    torch.testing.assert_close(layer.g_curve.learned, 27**0.5 * expected.detach())


def test_the_data_lie_below(report):
    (layer,) = report.layers
    figure = figures.learned_operators(report)
    drawn = [patch for axes in figure.axes for patch in axes.patches]
    for patch, curve in zip(drawn, (layer.h_curve, layer.g_curve), strict=True):
        values, edges, _ = patch.get_data()
        np.testing.assert_allclose(values, curve.density)
        np.testing.assert_allclose(edges, curve.edges)
        assert patch.axes.get_ylim()[1] > 2 * float(curve.density.max())  # in the lower part of the panel


def test_words(report):
    (layer,) = report.layers
    figure = figures.learned_operators(report)
    ((left, right),) = panels(figure)
    assert left.get_title(loc="left") == "0"
    (of_h,), (of_g,) = left.texts, right.texts
    assert of_h.get_text().startswith(f"{layer.h.name}, ρ {layer.h.radius:.2g} m")
    assert of_h.get_text().endswith("%")
    assert of_g.get_text().startswith("cos; ")
    assert "-" not in of_h.get_text()  # the sign of a number is a minus
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "learned", "beyond the data", "nearest named", "other named", "data",
    ]  # fmt: skip
    assert (left.get_xlabel(), right.get_xlabel()) == ("h over ‖x‖ / m", "√d g over t = √d cos θ")


def test_a_half_that_is_not_learned_is_grey_and_alone():
    layer = dn.DecoupledConv2d(3, 6, 3, operator="spline-cos")
    report = dn.distil(layer, [torch.rand(4, 3, 8, 8)], candidates=["tanh-cos"])
    ((_, right),) = panels(figures.learned_operators(report))
    (line,) = right.get_lines()
    assert same_color(line.get_color(), LIGHT.quiet)
    assert [text.get_text() for text in right.texts] == ["not learned"]


@pytest.mark.parametrize("count", [1, 3, TWO_COLUMNS, 9])
def test_every_layer_has_a_row_and_words_do_not_meet(report, count):
    layers = [dataclasses.replace(report.layers[0], name=f"stages.{i}.conv") for i in range(count)]
    figure = figures.learned_operators(dataclasses.replace(report, layers=tuple(layers)))
    found = panels(figure)
    assert [left.get_title(loc="left") for left, _ in found] == [layer.name for layer in layers]
    figure.draw_without_rendering()
    boxes = [a.texts[0].get_window_extent() for pair in found for a in pair]
    boxes += [left._left_title.get_window_extent() for left, _ in found]
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])
    width, height = figure.get_size_inches()
    assert width <= 9
    assert height < 2.0 * count + 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme(report, theme):
    figure = figures.learned_operators(report, theme)
    assert same_color(figure.get_facecolor(), THEMES[theme].background)
    ((left, _),) = panels(figure)
    assert lines(left, THEMES[theme].series[0])
