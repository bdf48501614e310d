"""Joint depth upsampling on the page: maps, errors, what needs no training, and who is no better."""

import dataclasses

import numpy as np
import pytest
import torch
from joint_cases import SMALL, rest

from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.reports.figures.depths import depth_of
from decoupled_nets.reports.page import render
from decoupled_nets.reports.results import Results, Score
from decoupled_nets.reports.summary import summarise
from decoupled_nets.reports.untrained import no_better, untrained_tables
from decoupled_nets.tasks import find_task
from decoupled_nets.tasks._examples import deep_picture
from decoupled_nets.training import load_network


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    options = {**rest(SMALL, "operator"), "epochs": 1, "operators": "conv"}
    results, paths = compare(CompareConfig.of(**options), folder, quiet=True)
    return folder, options, results, paths


def test_compare_shows_maps_errors_and_what_needs_no_training(compared):
    tmp_path, options, results, paths = compared
    assert (results.metric.name, results.metric.better, results.margin) == ("rmse", "lower", 0.01)
    assert "depths.png" in {path.name for path in paths}
    for score in [run.test for run in results.runs] + list(results.baselines.values()):
        assert score.low <= score.value <= score.high
    again, _ = compare(CompareConfig.of(**options), tmp_path, quiet=True)
    assert again == results == Results.load(tmp_path / "results.json")
    page = (tmp_path / "report.html").read_text()
    for text in (
        "on generated scenes, depth ×4 (pick)</", "Test RMSE, units", "MAE, units", "Without training",
        "bicubic, known sample positions", "joint bilateral", "Depth maps", "upsampling by ddf",
    ):  # fmt: skip
        assert text in page, text
    assert "BatchNorm" not in page.split("<h2")[0]
    assert "--task depth --train-size 12" in results.config["command"]
    # What is shown is what the network of the run makes of the test images, and where it errs.
    given, made = results.examples["given"], results.examples["made"]
    network = load_network(tmp_path / "runs" / "conv-seed0" / "last.ckpt")
    data = find_task("depth").load(CompareConfig.of(**options).data)
    x, target = data.test_image(0)
    low, high = map(float, given["range"][0].split())
    with torch.no_grad():
        found = network(x)[0, 0]
    shown = depth_of(made["conv"][0], low, high)
    np.testing.assert_allclose(shown, found.clamp(low, high), atol=2 * (high - low) / 65535)
    np.testing.assert_allclose(depth_of(given["truth"][0], low, high), target[0], atol=(high - low) / 65535)


def test_pictures_of_depth_have_gaps():
    values = torch.tensor([[1.0, torch.nan], [2.0, 5.0]])
    found = depth_of(deep_picture(values, 1.0, 5.0), 1.0, 5.0)
    np.testing.assert_allclose(found, values, atol=1e-4)


def test_networks_that_learned_nothing_are_named(compared):
    results = dataclasses.replace(compared[2])
    (table,) = untrained_tables(results)
    assert [row[0] for row in table.rows] == list(results.baselines)
    own = results.runs[0].test
    known, name = "bicubic, known sample positions", "joint bilateral (deviations 1 samples, 0.1 of white)"

    def beside(**factors):
        """Rows that have so much of the network's value and interval."""
        results.baselines = {
            row.replace("_", " "): Score(f[0] * own.value, 6, f[-1] * own.low, f[-1] * own.high)
            for row, f in factors.items()
        }
        return no_better(results)

    text = f"Nothing learned: conv (seed 0) did as {known} does, from which networks start."
    assert beside(bicubic=(2,), **{known: (1.0005,)}).startswith(text)
    assert text in render(results, summarise(results), {})
    assert "did as bicubic does" in beside(bicubic=(1.0005,))
    # Where it did not start, it may end; and a mean may be alike where the images are not.
    assert beside(bicubic=(1.0005,), nearest=(1,), **{known: (1.002,), name: (1,)}) == ""
    assert beside(**{known: (1.0005, 1.01)}) == ""
    worse = beside(**{known: (0.9,)})
    assert worse == (
        f"Worse than without training: conv (seed 0), beside {known}, from which networks start."
        " A smaller lr or more epochs may help."
    )
    assert worse in render(results, summarise(results), {})
    assert beside(**{known: (1.1,)}) == ""
    assert untrained_tables(dataclasses.replace(results, baselines={})) == []
