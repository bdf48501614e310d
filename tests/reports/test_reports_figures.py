import io

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from report_cases import make_results, make_run

from decoupled_nets.ops.decoupled.magnitude import register_magnitude, unregister_magnitude
from decoupled_nets.reports import figures
from decoupled_nets.reports.figures import style
from decoupled_nets.reports.figures.style import THEMES, grid, operator_colours, separated
from decoupled_nets.reports.results import Features
from decoupled_nets.tasks._examples import deep_picture, picture

DRAWINGS = {
    "curves": figures.curves,
    "score": figures.score,
    "attacks": figures.attacks,
    "features": figures.features,
    "functions": lambda results, theme: figures.functions(results.operators, theme),
    "geometry": lambda results, theme: figures.operator_geometry(results.operators, theme),
    "overview": lambda results, theme: figures.operators_overview(theme),
}


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"))


@pytest.mark.parametrize("name", DRAWINGS)
def test_an_image_with_the_theme_behind_and_something_on_it(name, results):
    for theme, look in THEMES.items():
        image = pixels(DRAWINGS[name](results, theme))
        assert image.shape[1] == style.WIDTH * style.DPI
        assert "#{:02x}{:02x}{:02x}".format(*image[0, 0]) == look.background
        assert (image != image[0, 0]).any(axis=2).mean() > 0.01


def test_global_settings_stay(results):
    before = dict(mpl.rcParams)
    figures.curves(results, "dark")
    assert dict(mpl.rcParams) == before


def test_unknown_theme(results):
    with pytest.raises(ValueError, match="theme = 'sepia' received; needed: 'light' or 'dark'"):
        figures.curves(results, "sepia")


def test_odd_runs_are_drawn():
    nan = float("nan")
    runs = [
        make_run("conv", 0, [500]),
        make_run("tanh-cos", 0, [500, 100], losses=[1e9, nan]),
        make_run("ball-cos", 0, [100, 100], losses=[nan, nan]),
        *(make_run("seg-sqcos", seed, [500, 600, 700]) for seed in range(3)),
    ]
    results = make_results(seeds=(0, 1, 2), runs=runs)
    left, right = figures.curves(results).axes
    assert left.get_yscale() == "log"
    assert right.get_yscale() == "linear"
    pixels(figures.curves(results))
    pixels(figures.score(results))


def test_features_with_many_classes_and_values_that_are_not_finite():
    nan = float("nan")
    many = Features("conv", [0.1 * i for i in range(60)], [1.0] * 60, list(range(60)), 1 / 60)
    broken = Features("tanh-cos", [nan] * 3, [nan] * 3, [0, 1, 2], 0.0)
    same = Features("ball-cos", [0.0] * 3, [0.0] * 3, [0, 1, 2], 0.0)
    results = make_results(features=[many, broken, same])
    figure = figures.features(results)
    pixels(figure)
    assert len(figure.legends[0].get_texts()) == figures.MOST_CLASSES
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["<b>bold</b>", "_under"]


def test_colours_stay_with_the_operator():
    look = THEMES["light"]
    one = operator_colours(["conv", "tanh-cos", "ball-cos"], look)
    other = operator_colours(["tanh-cos", "conv", "ball-cos"], look)
    assert one == other
    assert one["conv"] == look.baseline
    assert len(set(one.values())) == 3


def test_a_registered_magnitude_is_drawn_and_an_unknown_one_left_out():
    register_magnitude("root", lambda norm, radius, alpha, beta: alpha * (norm / radius).sqrt())
    try:
        labels = {text.get_text() for text in figures.operators_overview().axes[0].texts}
        assert "root" in labels
        assert len(figures.operator_geometry(["conv", "root-cos"]).axes) == 3
    finally:
        unregister_magnitude("root")
    titles = [axes.get_title(loc="left") for axes in figures.operator_geometry(["root-cos", "tanh-cos"]).axes]
    assert titles[:2] == ["inner product", "tanh-cos"]


def test_plain_convolution_alone():
    functions, geometry = figures.functions(["conv"]), figures.operator_geometry(["conv"])
    assert [text.get_text() for text in functions.axes[0].texts] == ["conv"]
    assert [axes.get_title(loc="left") for axes in geometry.axes if axes.images] == ["inner product"]
    for figure in (functions, geometry):
        pixels(figure)


@pytest.mark.parametrize(("panels", "expected"), [(1, (1, 1)), (4, (2, 2)), (5, (2, 3)), (3, (1, 3))])
def test_grid(panels, expected):
    assert grid(panels, 3) == expected


@given(st.lists(st.floats(-100, 100), max_size=12), st.floats(0.01, 10))
def test_separated_keeps_gap_and_order(values, gap):
    placed = separated(values, gap, -1e4, 1e4)
    order = sorted(range(len(values)), key=lambda i: values[i])
    steps = np.diff([placed[i] for i in order])
    assert (steps >= gap - 1e-9).all()
    if len(values) > 1 and np.diff(sorted(values)).min() >= gap:
        assert placed == pytest.approx(values)


LONG = [
    "conv",
    "spline-spline@linear-cos",
    "power@linear-sqcos",
    "ddf-bilinear",
    "pixelshuffle",
    "weighted tanh-cos",
]


def examples(kind: str, operators: list[str]) -> dict[str, dict[str, list[str]]]:
    image, values = picture(torch.rand(3, 12, 12)), deep_picture(torch.rand(12, 12), 0.0, 1.0)
    given, made = {
        "predictions": ({"masks": [picture(torch.zeros(12, 12))]}, picture(torch.zeros(12, 12))),
        "boxes": ({"boxes": ["[]"]}, "[]"),
        "depths": ({"truth": [values], "small": [values], "range": ["0 1"]}, values),
    }[kind]
    return {"given": {"images": [image], **given}, "made": {operator: [made] for operator in operators}}


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("kind", ["predictions", "boxes", "depths"])
def test_headings_over_pictures_do_not_overlap(kind, count):
    results = make_results(operators=LONG[:count], runs=[], examples=examples(kind, LONG[:count]))
    figure = getattr(figures, kind)(results)
    figure.draw_without_rendering()
    heads = [axes for axes in figure.axes if axes.get_title(loc="left")]
    top = max(axes.get_position().y1 for axes in heads)
    row = [axes for axes in heads if axes.get_position().y1 > top - 0.02]
    assert [axes.get_title(loc="left") for axes in row][-count:] == LONG[:count]
    extents = [axes._left_title.get_window_extent() for axes in row]
    edges = [edge for extent in extents for edge in (extent.x0, extent.x1)]
    assert edges == sorted(edges)
    assert edges[-1] <= figure.bbox.x1 + 1
