"""What the figures draw: the numbers in their artists, the words beside them, the colours."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from matplotlib.colors import same_color
from report_cases import FINAL, OPERATORS, make_results, make_run

import decoupled_nets as dn
from decoupled_nets._statistics import wilson
from decoupled_nets.reports import figures
from decoupled_nets.reports.figures.style import THEMES, operator_colours
from decoupled_nets.reports.filters import generated_filters
from decoupled_nets.reports.results import Features
from decoupled_nets.reports.sections import pictures
from decoupled_nets.reports.summary import summarise

LIGHT = THEMES["light"]


def lines_of(axes, colour) -> list[list[float]]:
    """The heights of the lines of one colour, in the order drawn."""
    return [
        list(map(float, line.get_ydata()))
        for line in axes.get_lines()
        if same_color(line.get_color(), colour)
    ]


def title(axes) -> str:
    return axes.get_title(loc="left")


@pytest.mark.parametrize("seeds", [(0,), (0, 1), (0, 1, 2)])
def test_curves_draw_training_loss_and_validation_accuracy(seeds):
    results = make_results(seeds=seeds)
    for run in results.runs:  # no two numbers alike
        for epoch in run.history:
            epoch.train_loss, epoch.val_loss = epoch.epoch + 0.1 * run.seed, 10 + epoch.epoch
    left, right = figures.curves(results).axes
    colours = operator_colours(OPERATORS, LIGHT)
    assert (title(left), title(right)) == ("Training loss", "Validation accuracy, %")
    assert left.get_xlabel() == right.get_xlabel() == "Epoch"
    for operator in OPERATORS:
        runs = results.of(operator)
        for axes, value in (
            (left, lambda epoch: epoch.train_loss),
            (right, lambda epoch: 100 * epoch.val),
        ):
            single = np.array([[value(epoch) for epoch in run.history] for run in runs])
            expected = [*(single.tolist() if len(seeds) > 1 else []), single.mean(0).tolist()]
            np.testing.assert_allclose(lines_of(axes, colours[operator]), expected)
            (mean,) = [line for line in axes.get_lines() if line.get_gid() == operator]
            assert list(mean.get_xdata()) == [1, 2, 3]
            ends = [text for text in axes.texts if text.get_text() == operator]
            assert same_color(ends[0].get_color(), colours[operator])
    assert len(left.collections) == len(right.collections) == (4 if len(seeds) > 2 else 0)


def test_the_band_of_curves_is_one_standard_deviation():
    results = make_results(seeds=(0, 1, 2), operators=["conv"])
    for run in results.runs:
        for epoch in run.history:
            epoch.train_loss = float(run.seed)
    (band,) = figures.curves(results).axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0, 2))


def test_a_cross_marks_the_last_epoch_with_a_loss():
    runs = [make_run("conv", 0, [500, 600, 100], losses=[2.0, 1.5, math.nan])]
    results = make_results(seeds=(0,), operators=["conv"], runs=runs)
    for axes, height in zip(figures.curves(results).axes, (1.5, 60.0), strict=True):
        crosses = [line for line in axes.get_lines() if line.get_marker() == "x"]
        assert [(float(c.get_xdata()[0]), float(c.get_ydata()[0])) for c in crosses] == [(2.0, height)]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_accuracy_draws_means_and_intervals(seeds):
    results = make_results(seeds=seeds)
    (axes,) = figures.score(results).axes
    assert title(axes) == "Test accuracy, %"
    assert [text.get_text() for text in axes.get_yticklabels()] == OPERATORS
    for y, operator in enumerate(OPERATORS):
        drawn = [line for line in axes.get_lines() if set(line.get_ydata()) == {y}]
        values = [(FINAL[operator] + 4 * seed) / 10 for seed in seeds]
        dot = [line for line in drawn if line.get_marker() == "o"]
        assert [line.get_xdata() for line in dot] == [pytest.approx([np.mean(values)])]
        if len(seeds) == 1:
            interval = wilson(FINAL[operator], 1000)
            ends = [100 * interval.low, 100 * interval.high]
        else:
            ends = [np.mean(values) - np.std(values, ddof=1), np.mean(values) + np.std(values, ddof=1)]
            ticks = [line for line in drawn if line.get_marker() == "|"]
            assert [list(line.get_xdata()) for line in ticks] == [pytest.approx(values)]
        assert [
            list(line.get_xdata())
            for line in drawn
            if len(line.get_xdata()) == 2 and line.get_marker() == "None"
        ] == [pytest.approx(ends)]
        assert f"{np.mean(values):.1f}" in axes.texts[y].get_text()
    (baseline,) = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert list(baseline.get_xdata()) == pytest.approx(
        [np.mean([FINAL["conv"] / 10 + 0.4 * s for s in seeds])] * 2
    )


def test_attacks_draw_each_by_its_marker():
    results = make_results()
    figure = figures.attacks(results)
    (axes,) = figure.axes
    assert title(axes) == "Accuracy under attack, % at most, L∞ 8/255"
    legend = dict(
        zip([t.get_text() for t in figure.legends[0].get_texts()], figure.legends[0].get_lines(), strict=True)
    )
    assert list(legend) == ["no attack", "FGSM", "PGD-10"]
    expected = {"no attack": 84.2, "FGSM": 30.0, "PGD-10": 5.0}
    first = [line for line in axes.get_lines() if set(line.get_ydata()) == {0} and len(line.get_xdata()) == 1]
    for name, handle in legend.items():
        values = [float(line.get_xdata()[0]) for line in first if line.get_marker() == handle.get_marker()]
        assert values == pytest.approx([expected[name]]), name


def test_features_draw_every_class_at_its_place():
    points = Features("conv", [1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0], [0, 1, 0, 1], 0.75)
    results = make_results(operators=["conv"], features=[points])
    figure = figures.features(results)
    (axes,) = figure.axes
    assert (title(axes), axes.get_title(loc="right")) == ("conv", "75.0 %")
    assert [c.get_offsets().tolist() for c in axes.collections] == [[[1, 10], [3, 30]], [[2, 20], [4, 40]]]
    for dots, handle, name in zip(
        axes.collections, figure.legends[0].get_lines(), ("<b>bold</b>", "_under"), strict=True
    ):
        assert same_color(dots.get_facecolor()[0][:3], handle.get_color())
        assert name in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("name", ["tanh-cos", "ball-sqcos", "seg-linear"])
def test_heat_maps_are_h_times_g(name):
    plain, own = figures.operator_geometry(["conv", name]).axes[:2]
    side = torch.linspace(-2, 2, 121, dtype=torch.float64)
    x2, x1 = torch.meshgrid(side, side, indexing="ij")
    np.testing.assert_allclose(plain.images[0].get_array(), x1)
    operator, norm = dn.Operator(*name.split("-")), torch.hypot(x1, x2)
    expected = operator.h(norm, 1.0) * operator.g(x1 / norm.clamp(min=1e-12))
    np.testing.assert_allclose(own.images[0].get_array(), expected)
    assert own.images[0].get_extent() == [-2, 2, -2, 2]
    assert own.images[0].origin == "lower"
    limits = [axes.images[0].get_clim() for axes in (plain, own)]
    assert limits[0] == limits[1]
    assert limits[0][1] >= float(expected.abs().max())


def test_splines_that_are_held_have_functions_of_their_own():
    left, _ = figures.functions(["conv", "spline-cos", "spline-cos+lipschitz=0.5"]).axes
    drawn = {line.get_label(): line for line in left.get_lines()}
    ends = [float(drawn[f"spline{held} (tanh)"].get_ydata()[-1]) for held in ("", "+lipschitz=0.5")]
    assert ends[1] < 0.9 * ends[0]


def test_functions_are_h_of_the_norm_and_g_of_the_angle():
    left, right = figures.functions(["conv", "tanh-cos", "ball-sqcos"]).axes
    drawn = {line.get_label(): line for axes in (left, right) for line in axes.get_lines()}
    norm, angle = (torch.tensor(np.asarray(drawn[n].get_xdata())) for n in ("tanh", "sqcos"))
    assert (float(norm[-1]), float(angle[-1])) == pytest.approx((3, math.pi))
    for name in ("tanh", "ball"):
        np.testing.assert_allclose(drawn[name].get_ydata(), dn.Operator(name, "cos").h(norm, 1.0))
    for name in ("cos", "sqcos"):
        np.testing.assert_allclose(drawn[name].get_ydata(), dn.Operator("tanh", name).g(angle.cos()))
    dashed = [line for line in left.get_lines() if line.get_label() == "conv"]
    np.testing.assert_allclose(dashed[0].get_ydata(), norm)
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["cos", "sqcos"]
    assert float(left.get_lines()[-1].get_xdata()[0]) == 1.0  # the radius


def test_learned_functions_are_drawn_as_they_start_and_say_so():
    names = ["spline-spline@linear-cos", "spline-spline@seg-sqcos", "power"]
    left, right = figures.functions(names).axes
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in left.get_lines()}
    norm = torch.tensor(np.asarray(left.get_lines()[0].get_xdata()))
    for label, operator in {
        "spline (linear)": dn.Operator("linear"),
        "spline (seg)": dn.Operator("seg"),
        "power (tanh)": dn.Operator("power"),
    }.items():
        np.testing.assert_allclose(drawn[label], operator.h(norm, 1.0), atol=1e-12)
    names = [text.get_text() for text in right.get_legend().get_texts()]
    assert names == ["spline (cos)", "spline (sqcos)", "power (cos)", "conv"]
    turned = {line.get_label(): np.asarray(line.get_ydata()) for line in right.get_lines()}
    cosine = torch.linspace(0, math.pi, 301, dtype=torch.float64).cos()
    np.testing.assert_allclose(turned["spline (sqcos)"], dn.Operator("tanh", "sqcos").g(cosine))


def test_filters_are_drawn_where_and_as_they_are():
    layer = dn.DDF2d(3, stride=2).eval()
    generated = generated_filters(layer, torch.rand(3, 16, 12), positions=3, channels=2)
    figure = figures.dynamic_filters(generated)
    upper, lower = figure.subfigs
    (image,), maps = (part.axes for part in upper.subfigs)
    for text, (row, column) in zip(image.texts, generated.positions.tolist(), strict=True):
        assert text.xy == pytest.approx((2 * column + 0.5, 2 * row + 0.5))
    for axes, tap in zip(maps, generated.maps.flatten(0, 1), strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), tap)
    panels = np.array(lower.axes).reshape(3, 4)
    tables = {
        **{(0, n + 1): generated.spatial[n] for n in range(3)},
        **{(m + 1, 0): generated.channel[m] for m in range(2)},
        **{(m + 1, n + 1): generated.combined[m, n] for m in range(2) for n in range(3)},
    }
    for (row, column), taps in tables.items():
        np.testing.assert_allclose(panels[row, column].images[0].get_array(), taps)
    for panel in panels.flat[1:]:
        low, high = panel.images[0].get_clim()
        assert low == -high
    assert [f"channel\n{c}" for c in generated.channels.tolist()] == [
        axes.get_ylabel() for axes in panels[1:, 0]
    ]
    assert "spatial (top) × channel filters (left)" in lower._suptitle.get_text()
    added = dataclasses.replace(generated, combine="add")
    assert "(top) + channel" in figures.dynamic_filters(added).subfigs[1]._suptitle.get_text()


@pytest.mark.parametrize("theme", THEMES)
def test_the_theme_is_that_of_background_and_words(theme):
    figure = figures.curves(make_results(), theme)
    assert same_color(figure.get_facecolor(), THEMES[theme].background)
    assert all(same_color(axes.get_facecolor(), THEMES[theme].background) for axes in figure.axes)
    assert all(same_color(axes.title.get_color(), THEMES[theme].ink) for axes in figure.axes)


def words(**options) -> dict[str, str]:
    results = make_results(**options)
    return {name: picture.caption for name, picture in pictures(results, summarise(results)).items()}


def test_captions_say_what_there_is():
    thick, band, cross = "Thick lines are means", "The band is ± one", "A cross marks"
    for seeds, expected in (((0,), (False, False)), ((0, 1), (True, False)), ((0, 1, 2), (True, True))):
        caption = words(seeds=seeds)["curves"]
        assert (thick in caption, band in caption, cross in caption) == (*expected, False)
        assert ("Wilson" in words(seeds=seeds)["score"]) == (len(seeds) == 1)
    lost = [make_run("conv", 0, [500], losses=[math.nan])]
    assert cross in words(seeds=(0,), operators=["conv"], runs=lost)["curves"]
    assert "Only the first 20 of 30 classes" in words(data={"classes": list("x" * 30)})["features"]
    assert words()["attacks"] == (
        "Accuracy without an attack and, at most, under FGSM and PGD-10; 100 of the test images are attacked."
    )
