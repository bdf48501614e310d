"""Convergence: areas under curves are judged, and what some runs never reach is shown."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import yaml
from scipy import stats

from decoupled_nets.reports.results import Epoch, Results, Run, Score
from decoupled_nets.reproduce import table
from decoupled_nets.reproduce.curves import areas, reached
from decoupled_nets.reproduce.metrics import METRICS
from decoupled_nets.reproduce.shown import _spread
from decoupled_nets.reproduce.table import Hypothesis, Table, read
from decoupled_nets.reproduce.verdict import contrasts, judge

FASTER = Hypothesis("b", "better", "curve", "a")


def run(label: str, seed: int, values: list[float], losses: list[float] | None = None) -> Run:
    losses = losses or [1.0] * len(values)
    history = [
        Epoch(i, loss, 1.0, value, 2.0) for i, (value, loss) in enumerate(zip(values, losses, strict=True), 1)
    ]
    return Run(label, seed, 1, history, Score(0.5, 10))


def results(*runs: Run) -> Results:
    labels = list(dict.fromkeys(one.operator for one in runs))
    seeds = sorted({one.seed for one in runs})
    return Results(labels, seeds, {}, {"classes": list(range(10))}, {}, "linf:8/255", list(runs))


def toy(**changes: object) -> Table:
    raw = yaml.safe_load("""
        {title: t, source: s, claims: c, metric: [curve, epochs_to_best], options: {}, figures: {},
         cells: {a: {operator: conv}, b: {operator: tanh-cos}, c: {operator: ball-cos}},
         hypotheses: [{cell: b, against: a, direction: better}, {cell: c, against: b, direction: better}],
         scales: {small: {}}}
    """)
    return read("toy", yaml.safe_dump({**raw, **changes}))


def test_the_area_is_the_mean_over_epochs_and_what_broke_counts_as_a_guess() -> None:
    found = areas(
        [
            run("b", 0, [0.4, 0.9, 0.9], [1.0, math.nan, 1.0]),
            run("a", 1, [0.2, math.nan, 0.7]),
            run("a", 0, [0.2, 0.4, 0.6]),
        ],
        classes=10,
    )
    assert list(found["a"]) == [0, 1]
    assert found["a"][0] == pytest.approx([0.4])
    assert found["a"][1] == pytest.approx([(0.2 + 0.1 + 0.7) / 3])
    assert found["b"][0] == pytest.approx([(0.4 + 0.1 + 0.1) / 3])


def test_a_level_that_is_never_reached_is_said_and_no_number() -> None:
    runs = [
        run("a", 0, [0.2, 0.5, 0.4]), run("a", 1, [0.2, 0.3, 0.6]),
        run("b", 0, [0.5, 0.6, 0.4]), run("b", 1, [0.4, 0.5, 0.5]),
        run("c", 0, [0.1, 0.1, 0.6]), run("c", 1, [0.1, 0.1, 0.1]),
    ]  # fmt: skip
    found = reached(toy(), results(*runs))
    assert found["epochs_to_best"] == {"a": [2, 3], "b": [1, math.inf], "c": [3, math.inf]}
    assert found["seconds_to_best"]["a"] == [4, 6]
    # b is another one's baseline, and yet has its own; without it there is no level for c.
    assert reached(toy(), results(*runs[:2], *runs[4:]))["epochs_to_best"] == {"a": [2, 3]}
    kind = METRICS["epochs_to_best"]
    assert _spread([1, math.inf], kind) == "1.0 (1 of 2 runs)"
    assert _spread([1, 3, math.inf], kind) == "2.0 ± 1.4 (2 of 3 runs)"
    assert _spread([math.inf, math.inf], kind) == "never"
    assert _spread([2, 3], kind) == "2.5 ± 0.7"


def test_what_some_runs_do_not_have_is_not_judged() -> None:
    for metric in ("epochs_to_best", "seconds_to_best", "far"):
        one = {"cell": "b", "against": "a", "direction": "better", "metric": metric}
        with pytest.raises(ValueError, match=f"metric = {metric} received, of which nothing is judged"):
            toy(metric=["curve", metric], hypotheses=[one])


def verdict(one: Hypothesis, a: list[float], b: list[float]):
    cells = {label: {s: np.array([v]) for s, v in enumerate(of)} for label, of in {"a": a, "b": b}.items()}
    return judge(one, None, contrasts([one], {one.metric: cells}).get(0), 0.005)


def test_numbers_of_runs_are_judged_by_their_seeds_alone() -> None:
    first, second = [0.50, 0.52, 0.51, 0.55], [0.56, 0.57, 0.58, 0.60]
    found = verdict(FASTER, first, second)
    differences = [b - a for a, b in zip(first, second, strict=True)]
    reach = stats.t.ppf(0.975, 3) * statistics.stdev(differences) / 2
    assert found.word == "holds"
    assert found.mean == pytest.approx(100 * statistics.fmean(differences))
    assert found.interval is not None
    half = (found.interval[1] - found.interval[0]) / 2
    assert half == pytest.approx(100 * reach, rel=0.15)  # Student's t
    assert verdict(FASTER, second, first).word == "fails"
    assert verdict(Hypothesis("b", "worse", "curve", "a"), second, first).word == "holds"
    wide = verdict(FASTER, first, [0.40, 0.70, 0.52, 0.60])
    assert wide.word == "undecided"
    assert "this design sees differences of" in wide.reason
    assert verdict(FASTER, first, first).reason == "no difference with any seed"
    assert verdict(FASTER, [0.5], [0.6]).reason == "one seed decides nothing"
    # What is said of convergence is of no family of intervals.
    stuck = Hypothesis("b", "does not converge", "curve")
    assert contrasts([stuck], {"curve": {"b": {0: np.array([0.1]), 1: np.array([0.2])}}}) == {}


def test_areas_and_images_are_families_of_their_own() -> None:
    places = np.arange(200) / 200
    right = {"a": {s: (places < 0.5).astype(float) for s in range(3)},
             "b": {s: (places < 0.7 + 0.01 * s).astype(float) for s in range(3)}}  # fmt: skip
    curve = {
        "a": {s: np.array([0.5]) for s in range(3)},
        "b": {s: np.array([0.6 + s / 50]) for s in range(3)},
    }
    both = contrasts(
        [FASTER, Hypothesis("b", "better", "accuracy", "a")], {"curve": curve, "accuracy": right}
    )
    alone = contrasts([FASTER], {"curve": curve})
    assert both[0].reach == alone[0].reach
    assert (both[0].images, both[1].images) == (1, 200)


def test_every_cell_of_the_table_has_a_baseline_with_the_same_layers() -> None:
    one = table("cvpr2018-convergence")
    runs = [run(cell, 0, [0.1, 0.5 if "bn" in cell else 0.3]) for cell in one.cells]
    for cell, found in reached(one, results(*runs))["epochs_to_best"].items():
        assert found == [2], cell  # the other baseline's best is another
    for h in one.hypotheses:
        assert one.cells[h.cell]["batch_norm"] == one.cells[h.against]["batch_norm"]
