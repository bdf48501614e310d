"""Means, tables and the figure of a benchmark."""

import dataclasses
import io

import numpy as np
import pytest
from bench_cases import made_up, ratio
from PIL import Image

from decoupled_nets.reports.bench_results import BenchResults, summarise
from decoupled_nets.reports.bench_tables import bench_tables
from decoupled_nets.reports.figures import png, style
from decoupled_nets.reports.figures.bench import ratios
from decoupled_nets.reports.tables import as_rich


def test_geometric_means_and_worst_layers():
    rows = [one for one in made_up(grid="imagenet", operators="tanh-cos") if one.path == "layer"]
    rows = [
        dataclasses.replace(one, forward=ratio(median), kept=median**2)
        for one, median in zip(rows, (1.0, 4.0, 2.0), strict=True)
    ]
    (mean,) = summarise(rows)
    assert (mean.grid, mean.layers, mean.baseline) == ("imagenet", 3, "nn.Conv2d")
    assert mean.forward == pytest.approx(2.0)
    assert mean.both == pytest.approx(2.0)
    assert mean.kept == pytest.approx(4.0)
    assert (mean.worst_forward.label, mean.worst_forward.ratio) == (rows[1].label, 4.0)


def test_no_mean_of_growing_layers_or_of_networks():
    assert {mean.grid for mean in summarise(made_up(grid="all"))} == {"cnn9", "imagenet", "shapes", "batch1"}


def test_inference_has_no_backward_mean():
    means = summarise(made_up(grid="batch1", operators="tanh-cos"))
    assert all(mean.forward and mean.both is None and mean.worst_both is None for mean in means)


def test_json_round_trip():
    results = BenchResults({"grid": "all"}, {"threads": 2}, made_up(grid="all"), finished=True)
    assert BenchResults.from_json(results.to_json()) == results


def test_tables_hold_every_row_and_fit_80_columns():
    from rich.console import Console

    rows = made_up(grid="all", operators="tanh-cos", paths="layer,released")
    tables = bench_tables(rows)
    assert len(tables) == 7
    assert sum(len(table.rows) for table in tables[:-1]) == len(rows) + len({one.number for one in rows})
    console = Console(width=80, file=io.StringIO(), record=True)
    for table in tables:
        console.print(as_rich(table))
    text = console.export_text()
    assert "…" not in text
    assert "tanh-cos (released)" in text
    assert not bench_tables([])


@pytest.mark.parametrize("theme", style.THEMES)
@pytest.mark.parametrize(
    "options",
    [
        {"grid": "all", "operators": "tanh-cos", "paths": "layer,composed,released"},
        {"grid": "cnn9", "paths": "layer,compiled"},
        {"grid": "growth", "operators": "ball-cos"},
        {"grid": "batch1"},
    ],
    ids=lambda options: options["grid"],
)
def test_figure(options, theme):
    figure = ratios(made_up(**options), theme)
    image = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"))
    assert image.shape[1] == style.WIDTH * style.DPI
    assert (image != image[0, 0]).any(axis=2).mean() > 0.01


def panels(figure):
    return [axes for part in figure.subfigs for axes in part.axes]


def test_panels_are_those_that_were_measured():
    assert [axes.get_title(loc="left") for axes in panels(ratios(made_up(grid="batch1")))] == ["Forward"]
    titles = [axes.get_title(loc="left") for axes in panels(ratios(made_up(grid="cnn9,growth")))]
    assert titles[:5] == ["Forward", "Forward + backward", "As channels grow", "As resolution grows",
                          "As the batch grows"]  # fmt: skip
    assert png(ratios([]))


@pytest.mark.parametrize("most", [1.01, 1.3, 2.0, 4.0, 12.0, 900.0])
def test_ticks_hold_one_and_are_few(most):
    rows = [dataclasses.replace(one, forward=ratio(most)) for one in made_up(grid="cnn9")]
    axes = panels(ratios(rows))[0]
    assert 1 in axes.get_xticks()
    assert len(axes.get_xticks()) <= 10


def test_dots_are_medians_and_lines_quartiles():
    (forward, both) = panels(ratios(layers := made_up(grid="imagenet", operators="tanh-cos")))[:2]
    for axes, name in ((forward, "forward"), (both, "both")):
        ours = [getattr(one, name) for one in layers if one.path == "layer"]
        lines = [
            line
            for line in axes.get_lines()
            if line.get_marker() == "None" and len(set(line.get_ydata())) == 1
        ]
        dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
        assert [float(dot.get_xdata()[0]) for dot in dots] == [one.median for one in ours]
        assert [list(line.get_xdata()) for line in lines] == [[one.low, one.high] for one in ours]
        again = [getattr(one, name) for one in layers if one.path == "again"]
        shades = [band.get_paths()[0].vertices[:, 0] for band in axes.collections]
        assert [(min(x), max(x)) for x in shades] == [(one.low, one.high) for one in again]


def test_growth_is_drawn_by_its_medians():
    growing = made_up(grid="growth", operators="ball-cos")
    for axes in panels(ratios(growing)):
        (line,) = [line for line in axes.get_lines() if line.get_marker() == "o"]
        assert set(line.get_ydata()) == {2.0}
    channels = panels(ratios(growing))[0]
    (line,) = [line for line in channels.get_lines() if line.get_marker() == "o"]
    wanted = [
        one.case["in_channels"] for one in growing if one.case["sweep"] == "channels" and one.path == "layer"
    ]
    assert list(line.get_xdata()) == wanted


def test_columns_of_the_tables():
    (row,) = [
        dataclasses.replace(one, forward=ratio(2.0), both=ratio(3.0), kept=4.0)
        for one in made_up(grid="imagenet", operators="tanh-cos")
        if one.number == 0 and one.path == "layer"
    ]
    (table,) = bench_tables([row])
    assert table.header == ["", "Forward", "Forward + backward", "Kept"]
    assert table.rows == [
        [row.label, "", "", ""],
        ["  tanh-cos (layer)", "2.00× (1.80–2.20)", "3.00× (2.70–3.30)", "4.00×"],
    ]
    assert table.caption.startswith("imagenet, batch 8: medians (quartiles) relative to nn.Conv2d")
