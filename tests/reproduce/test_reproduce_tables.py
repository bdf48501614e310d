"""The tables' files: what they hold is the papers', and what they do not hold is refused."""

from __future__ import annotations

import pytest
import torch
import yaml

from decoupled_nets.compare import CompareConfig
from decoupled_nets.networks import build
from decoupled_nets.reproduce import options_of, table, table_names
from decoupled_nets.reproduce.metrics import METRICS, UNTRAINED
from decoupled_nets.reproduce.run import with_cells
from decoupled_nets.reproduce.table import Table, read
from decoupled_nets.tasks import find_task
from decoupled_nets.training import TrainConfig

TRAINED = [name for name in table_names() if table(name).measured not in UNTRAINED]

#: From the papers' tables; what is not there is in none of the files either.
FIGURES = {
    "cvpr2018-table1": {"unweighted": 23.09, "linear": 22.95, "product": 23.03, "separate": 23.38,
                        "projected": 21.17, "weighted-gradients": 21.45},
    "cvpr2018-table2": {"conv": 35.30, "linear-linear": 33.39, "linear-cos": 31.76, "linear-sqcos": "N/C",
                        "tanh-linear": 32.88, "tanh-cos": 31.88, "tanh-sqcos": 34.26, "seg-linear": 34.69,
                        "seg-cos": 30.34, "seg-sqcos": "N/C"},
    "cvpr2018-table3": {"conv": 58.24, "conv-relu": 26.01, "ball-cos": 31.81, "seg-sqcos": 24.29,
                        "linear-cos-relu": 24.81, "mix-sqcos-relu": 25.77, "log-cos": 33.62},
    "cvpr2021-table3": {"conv": 77.2, "spatial": 74.4, "channel": 78.7, "both": 79.1, "batch-norm": 76.0,
                        "sigmoid": 78.2, "squeeze-0.3": 79.0, "squeeze-0.4": 79.2},
    "cvpr2021-table6": {"nearest": 37.4, "bilinear": 37.6, "deconvolution": 37.3, "pixel-shuffle": 37.7,
                        "carafe": 38.5, "ddf": 38.6},
    "cvpr2021-table7": {"bicubic": 8.16, "bilateral": 4.07, "pac": 2.39, "ddf": 2.16},
    "cvpr2021-table7-8x": {"bicubic": 14.22, "bilateral": 8.29, "pac": 4.59, "ddf": 4.40},
    "cvpr2021-table7-16x": {"bicubic": 22.32, "bilateral": 13.35, "pac": 8.09, "ddf": 7.72},
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_the_papers(name: str) -> None:
    one = table(name)
    found = {cell: one.figure(cell, one.metrics[0]) for cell in FIGURES[name]}
    assert found == FIGURES[name]
    not_there = {"transposed", "pixelshuffle", "bicubic-placed"}  # in the paper
    assert set(one.figures) == {*one.cells, *one.untrained} - not_there


def test_figures_of_attacks_and_of_counting() -> None:
    attacked, counted = table("cvpr2018-table7-8"), table("cvpr2021-table4-5")
    assert attacked.figures["tanh"] == {
        "accuracy": 91.45, "fgsm": 52.60, "bim": 10.18, "transfer_fgsm": 50.61, "transfer_bim": 29.06,
    }  # fmt: skip
    assert attacked.figure("sphere-adversarial", "bim") == 35.07
    assert attacked.figure("conv-adversarial", "transfer_bim") == 78.55
    assert not any("standard" in own for own in attacked.figures.values())  # none of the paper's
    assert counted.figures["ddf-resnet50"] == {"parameters": 16.8, "multiply_adds": 2.3}
    layers = table("cvpr2021-table2").figures
    assert layers["ddf"] == {"latency": 3.0, "memory": 245.7}
    assert layers["conv"] == {"latency": 7.5, "memory": 356.3}
    assert table("cvpr2018-table6").figures == {}  # what was found of it is of another metric
    assert counted.figures["resnet101"] == {"parameters": 44.5, "multiply_adds": 7.8}


@pytest.mark.parametrize("name", TRAINED)
def test_every_scale_is_a_comparison_of_the_cells(name: str) -> None:
    one = table(name)
    for scale in one.scales:
        config = CompareConfig.of(**options_of(one, scale))
        chosen = one.chosen(scale)
        made = with_cells(config, one, chosen)
        assert made.names == chosen
        for cell in chosen:
            run = made.run(cell, 0).flat()
            assert {option: run[option] for option in one.cells[cell]} == dict(one.cells[cell])
        named = {label for h in one.hypotheses for label in (h.cell, h.against) if label}
        assert named - set(one.untrained) <= set(chosen), (
            f"{name}, {scale}: a hypothesis that nothing is made for"
        )
        seeds = made.seeds
        assert seeds >= 3 or scale == "paper"  # one seed decides nothing
        if one.measured == "attacks":
            assert made.attack_images >= 100


@pytest.mark.parametrize("name", TRAINED)
def test_cells_build_networks(name: str) -> None:
    one = table(name)
    config = CompareConfig.of(**{**options_of(one, "small"), "width": 1 / 32})
    config = with_cells(config, one, list(one.cells))
    size = config.data.image_size or 28  # of the sample
    size = {"depth": 64, "detect": 32}.get(config.task, size)
    task = find_task(config.task)([str(k) for k in range(10)])
    channels, options = 1, {}
    if config.task == "depth":
        channels, options = 2, {"scale": config.data.scale, "offset": 1.0}
    for cell in one.cells:
        run = config.run(cell, 0)
        network = task.network(run.network, run.operator, channels, **options).eval()
        assert network(torch.rand(1, channels, size, size)).isfinite().all(), cell


@pytest.mark.sweep
def test_cells_build_the_papers_networks() -> None:
    one = table("cvpr2021-table3")
    config = with_cells(CompareConfig.of(**options_of(one, "paper")), one, list(one.cells))
    for cell in one.cells:
        run = config.run(cell, 0)
        build(run.network, run.operator, 1000, 3)


SOUND = yaml.safe_load("""
title: t
source: s
claims: c
metric: error
options: {epochs: 1}
cells: {a: {operator: conv}, b: {operator: tanh-cos, relu: false}}
figures: {a: 1.5, b: N/C}
hypotheses: [{cell: b, against: a, direction: better}]
scales: {small: {seeds: 2, cells: [a]}}
""")


def made(**changes: object) -> Table:
    return read("toy", yaml.safe_dump({**SOUND, **changes}))


def test_a_sound_table_is_read() -> None:
    one = made()
    assert one.figure("b", "error") == "N/C"
    assert one.chosen("small") == ["a"]
    assert one.chosen("small", "b,a") == ["a", "b"]
    assert one.hypotheses[0].text == "b better than a"
    with pytest.raises(ValueError, match="unknown cell of toy 'c'"):
        one.chosen("small", "c")
    with pytest.raises(ValueError, match="unknown table 'cvpr2018-table4'"):
        table("cvpr2018-table4")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "toy: unknown key 'colour'"),
        ({"metric": "errors"}, "toy: unknown metric 'errors'"),
        ({"options": {"epoch": 1}}, "toy, options: unknown option 'epoch'"),
        ({"options": {"operators": "conv"}}, "toy, options: unknown option 'operators'"),
        ({"cells": {"a": {"seed": 1}}}, "toy, cell a: unknown option of a variant 'seed'"),
        ({"figures": {"c": 1}}, "toy, figures: unknown cell 'c'"),
        ({"figures": {"a": "low"}}, "'low' received; needed: a number or N/C"),
        ({"figures": {"a": {"bim": 1}}}, "toy, figures of a: unknown metric 'bim'"),
        ({"hypotheses": [{"cell": "a"}]}, "has no direction; needed"),
        ({"hypotheses": [{"cell": "a", "against": "b", "direction": "up"}]}, "unknown direction 'up'"),
        ({"hypotheses": [{"cell": "a", "direction": "better"}]}, "needed: a cell to compare with"),
        ({"hypotheses": [{"cell": "a", "against": "d", "direction": "worse"}]}, "unknown cell 'd'"),
        ({"scales": {"huge": {}}}, "unknown scale 'huge'"),
        ({"scales": {"small": {"cells": ["d"]}}}, "toy, small: unknown cell 'd'"),
        ({"scales": {"small": {"epoch": 1}}}, "toy, small: unknown option 'epoch'"),
        ({"surrogate": "d"}, "toy, surrogate: unknown cell 'd'"),
    ],
)
def test_what_is_no_table_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**changes)


def test_a_missing_key_is_named() -> None:
    raw = {key: value for key, value in SOUND.items() if key != "claims"}
    with pytest.raises(ValueError, match="toy has no claims; needed: the keys title, source"):
        read("toy", yaml.safe_dump(raw))


def test_operators_are_the_tables() -> None:
    one = table("cvpr2018-table2")
    with pytest.raises(ValueError, match=r"operators = 'conv' received .* cells=\.\.\. chooses"):
        with_cells(CompareConfig.of(operators="conv"), one, ["conv"])
    with pytest.raises(
        ValueError, match=r"scale = small received for cvpr2021-table4-5; needed: one of paper"
    ):
        options_of(table("cvpr2021-table4-5"), "small")
    assert TrainConfig.of(**one.cells["tanh-cos"]).operator == "tanh-cos"


def test_a_table_may_be_like_another() -> None:
    one, other = table("cvpr2021-table7"), table("cvpr2021-table7-8x")
    assert (one.options["scale"], other.options["scale"]) == (4, 8)
    assert {**other.options, "scale": 4} == one.options
    assert (other.cells, other.hypotheses, other.scales) == (one.cells, one.hypotheses, one.scales)
    assert other.figures["ddf"] == {"rmse": 4.40}
    with pytest.raises(ValueError, match="unknown table 'cvpr2021-table9'"):
        made(like="cvpr2021-table9")


def test_rows_without_training_have_figures_and_hypotheses() -> None:
    claim = {"cell": "a", "against": "c", "direction": "better"}
    one = made(untrained={"c": "bicubic"}, figures={"c": 3}, hypotheses=[claim])
    assert one.figure("c", "error") == 3
    assert one.hypotheses[0].against == "c"
    assert one.chosen("small") == ["a"]
    with pytest.raises(ValueError, match="unknown cell of toy 'c'"):  # it is always made
        one.chosen("small", "c")
    with pytest.raises(ValueError, match="toy has a twice; needed: rows without training that are no cells"):
        made(untrained={"a": "bicubic"})


def test_that_two_are_alike_is_about_what_scatters() -> None:
    one = made(hypotheses=[{"cell": "a", "against": "b", "direction": "alike"}])
    assert one.hypotheses[0].text == "a as good as b"
    with pytest.raises(ValueError, match="alike received for parameters; needed: a metric of trained"):
        made(
            metric="parameters", figures={}, hypotheses=[{"cell": "a", "against": "b", "direction": "alike"}]
        )


@pytest.mark.parametrize("name", TRAINED)
def test_figures_are_of_the_tasks_metric(name: str) -> None:
    one = table(name)
    metric = find_task(str(one.options.get("task", "classify"))).metric
    kinds = {name: METRICS[name] for name in one.metrics}
    own = [name for name, kind in kinds.items() if (kind.measured, kind.kept) == ("training", "images")]
    assert own == [{"accuracy": own[0], "ap": "ap", "rmse": "rmse"}[metric.name]]
    assert METRICS[own[0]].share == (metric.name == "accuracy")
    assert METRICS[own[0]].relative == (metric.unit != "%")
