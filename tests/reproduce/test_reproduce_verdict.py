"""Verdicts on made-up runs."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from decoupled_nets._measure import Ratio
from decoupled_nets.reports.results import Epoch, Run, Score
from decoupled_nets.reproduce import table, table_names
from decoupled_nets.reproduce.clock import judge_measured, measured_layers
from decoupled_nets.reproduce.count import judge_counted
from decoupled_nets.reproduce.metrics import METRICS
from decoupled_nets.reproduce.reproduction import Training
from decoupled_nets.reproduce.table import Hypothesis
from decoupled_nets.reproduce.verdict import (
    Verdict,
    beside_diverged,
    contrasts,
    converged,
    judge,
    judge_convergence,
    paper_difference,
    reference,
)

BETTER = Hypothesis("b", "better", "error", "a")
WORSE = Hypothesis("b", "worse", "error", "a")


def runs(accuracy: float, seeds: int = 3, images: int = 400, spread: float = 0.0) -> dict:
    """Scores of runs that are right on the same easy images, up to what a seed adds."""
    places = np.arange(images) / images
    return {
        seed: (places < accuracy + spread * (seed - (seeds - 1) / 2)).astype(float) for seed in range(seeds)
    }


def verdict(one: Hypothesis, a: dict, b: dict, margin: float = 0.005):
    found = contrasts([one], {"error": {"a": a, "b": b}})
    return judge(one, None, found.get(0), margin)


def test_a_large_difference_holds_one_way_and_fails_the_other() -> None:
    up = verdict(BETTER, runs(0.6), runs(0.8))
    assert (up.word, up.mean) == ("holds", pytest.approx(20))
    assert up.interval is not None
    assert up.interval[0] > 0
    down = verdict(WORSE, runs(0.6), runs(0.8))
    assert (down.word, down.reason) == ("fails", "the difference is the other way round")
    assert verdict(WORSE, runs(0.8), runs(0.6)).word == "holds"


def test_a_difference_below_the_margin_fails() -> None:
    found = verdict(BETTER, runs(0.6, images=4000), runs(0.6, images=4000, spread=0.001), margin=0.01)
    assert found.word == "fails"
    assert found.reason.startswith("no difference larger than 0.")
    assert (
        verdict(BETTER, runs(0.6, images=4000), runs(0.6, images=4000, spread=0.001), margin=0.001).word
        == "undecided"
    )


def test_what_scatters_is_undecided_and_says_what_could_be_seen() -> None:
    found = verdict(BETTER, runs(0.6), runs(0.62, spread=0.05))
    assert found.word == "undecided"
    assert found.difference is not None
    assert found.difference.detectable is not None
    seen = 100 * found.difference.detectable
    assert found.text == f"undecided at this scale: this design sees differences of {seen:.1f} points"
    assert seen > 2


@pytest.mark.parametrize("sign", [1, -1])
def test_an_undecided_verdict_says_where_the_papers_difference_lies_outside(sign: int) -> None:
    one, own = (BETTER, runs(0.62, spread=0.05)) if sign > 0 else (WORSE, runs(0.58, spread=0.05))
    found = contrasts([one], {"error": {"a": runs(0.6), "b": own}})[0]
    assert found.interval is not None
    end = 100 * found.interval[sign > 0]
    for paper in (None, end - 0.1 * sign):
        assert "paper" not in judge(one, paper, found, 0.005).reason
    said = judge(one, end + 0.1 * sign, found, 0.005)
    assert said.word == "undecided"
    assert said.reason.endswith(f"; the paper's {end + 0.1 * sign:+.2f} points lie outside our interval")
    alike = dataclasses.replace(ALIKE, cell=one.cell, against=one.against)
    assert "paper" not in judge(alike, end + 0.1 * sign, found, 0.005).reason


def test_one_seed_no_runs_and_no_difference_anywhere() -> None:
    assert verdict(BETTER, runs(0.2, 1), runs(0.8, 1)).reason == "one seed decides nothing"
    assert verdict(BETTER, {}, runs(0.8)).word == "not made"
    few, many = (verdict(BETTER, runs(0.5, images=n), runs(0.5, images=n)) for n in (100, 1000))
    assert (few.word, many.word) == ("undecided", "fails")
    assert "both did the same on all 100 images, which leaves 3.0 points open" in few.reason


def test_contrasts_are_paired_and_hold_at_once() -> None:
    cells = {"a": runs(0.5), "b": runs(0.7, spread=0.02), "c": runs(0.8, spread=0.04)}
    hypotheses = [BETTER, Hypothesis("c", "better", "error", "b"), Hypothesis("d", "better", "error", "a")]
    found = contrasts(hypotheses, {"error": cells})
    assert set(found) == {0, 1}
    assert found[1].mean == pytest.approx(np.mean([cells["c"][s] - cells["b"][s] for s in range(3)]))
    alone = contrasts([BETTER], {"error": cells})[0]
    assert found[0].reach > alone.reach
    # Seeds that only one cell has do not count.
    assert contrasts([BETTER], {"error": {"a": runs(0.5, 2), "b": runs(0.7, 5)}})[0].seeds == 2
    # Attacks are on fewer images than tests: both kinds side by side.
    attacked = Hypothesis("b", "better", "bim", "a")
    both = contrasts([BETTER, attacked], {"error": cells, "bim": {n: runs(0.3, images=50) for n in "ab"}})
    assert (both[0].images, both[1].images) == (400, 50)


def run(losses: list[float], seed: int = 0, cell: str = "x") -> Run:
    return Run(cell, seed, 1, [Epoch(i, loss, 0, 0, 1) for i, loss in enumerate(losses, 1)], Score(0.1, 10))


def test_convergence() -> None:
    one = Hypothesis("x", "does not converge", "error")
    guess = math.log(10)
    stuck, broken, fine = run([guess, guess - 0.01]), run([2.0, math.nan]), run([guess, 0.5])
    assert [converged(r, 10) for r in (stuck, broken, fine)] == [False, False, True]
    stuck_too, other = run([guess], cell="y"), run([0.5], cell="y")
    assert judge_convergence(one, [stuck, broken, stuck_too, other], 10).word == "holds"
    assert judge_convergence(one, [stuck, broken, stuck_too], 10).text == (
        "undecided at this scale: 2 of 2 runs did not converge, and none of another cell did"
    )
    assert judge_convergence(one, [stuck, fine, other], 10).text == (
        "undecided at this scale: 1 of 2 runs did not converge"
    )
    assert judge_convergence(one, [fine], 10).word == "fails"
    assert judge_convergence(one, [other], 10).word == "not made"


def test_runs_that_diverged_are_named_and_a_cell_of_them_alone_decides_nothing() -> None:
    def run(cell: str, loss: float) -> Run:
        return Run(cell, 0, 1, [Epoch(1, loss, loss, 0.5, 1.0)], Score(0.5, 10))

    found = Verdict(Hypothesis("b", "better", "error", "a"), "fails", 1.0, None, "the other way round")
    whole = [run("a", 0.1), run("b", 0.1), run("c", math.nan)]
    assert beside_diverged(found, whole) == found
    some = beside_diverged(found, [*whole, run("b", math.nan)])
    assert some.text == "fails: the other way round; 1 of 2 runs of b diverged"
    lost = beside_diverged(found, [run("a", math.nan), run("b", 0.1)])
    assert lost.text == "undecided at this scale: 1 of 1 runs of a diverged"


def test_the_papers_difference_says_by_how_much_the_cell_is_better() -> None:
    errors, accuracies = table("cvpr2018-table2"), table("cvpr2021-table3")
    assert paper_difference(errors, Hypothesis("seg-cos", "better", "error", "conv")) == pytest.approx(4.96)
    assert paper_difference(errors, Hypothesis("seg-sqcos", "better", "error", "conv")) is None
    found = paper_difference(accuracies, Hypothesis("spatial", "worse", "accuracy", "conv"))
    assert found == pytest.approx(-2.8)


def test_papers_own_figures_agree_with_every_hypothesis() -> None:
    for name in table_names():
        one = table(name)
        for hypothesis in one.hypotheses:
            found = paper_difference(one, hypothesis)
            if found is not None and hypothesis.direction == "alike":
                assert abs(found) <= 0.5, (name, hypothesis)
            elif found is not None:
                assert (found > 0) == (hypothesis.direction == "better"), (name, hypothesis)


def test_counted_figures_are_exact() -> None:
    one = table("cvpr2021-table4-5")
    claim = one.hypotheses[0]
    ours = {"parameters": {"resnet18": [11.7], "ddf-resnet18": [7.7]}}
    found = judge_counted(one, claim, ours)
    assert (found.word, found.mean, found.paper) == ("holds", pytest.approx(4.0), pytest.approx(4.0))
    ours["parameters"]["ddf-resnet18"] = [12.0]
    assert judge_counted(one, claim, ours).word == "fails"
    assert judge_counted(one, claim, {"parameters": {}}).word == "not made"
    assert judge_counted(one, dataclasses.replace(claim, direction="worse"), ours).word == "holds"


def test_training_had_flattened_if_nothing_is_left_or_nothing_changes() -> None:
    assert Training(0.995, 0.2, 5).flattened
    assert Training(0.5, 0.005, 40).flattened
    assert not Training(0.5, 0.05, 40).flattened
    assert not Training(0.1, 0.0, 2).flattened  # two epochs say nothing


def test_layers_are_measured_side_by_side() -> None:
    one = table("cvpr2021-table2")
    ours, ratios = measured_layers(one, list(one.cells), torch.device("cpu"), (1, 8, 12, 10))
    assert set(ratios) == {("ddf", "conv"), ("ddf", "depth-wise")}
    assert all(values[0] > 0 for of_cells in ours.values() for values in of_cells.values())
    plain = 2 * 8 * 12 * 10 * 4 / 1e6  # input and output
    assert ours["memory"]["conv"] == ours["memory"]["depth-wise"] == [pytest.approx(plain)]
    assert ours["memory"]["ddf"][0] > plain  # and the filters
    few, none = measured_layers(one, ["conv"], torch.device("cpu"), (1, 8, 12, 10))
    assert (set(few["latency"]), none) == ({"conv"}, {})


@pytest.mark.parametrize(
    ("low", "median", "high", "word"),
    [(0.4, 0.5, 0.6, "holds"), (0.9, 1.0, 1.1, "undecided"), (2, 3, 4, "fails")],
)
def test_times_are_judged_by_the_ratio_in_the_same_rounds(
    low: float, median: float, high: float, word: str
) -> None:
    one, gpu = table("cvpr2021-table2"), torch.device("cuda")
    faster, slower, memory = one.hypotheses
    ours = {
        "latency": {"conv": [9.0], "ddf": [3.0], "depth-wise": [1.0]},
        "memory": {"conv": [9.0], "ddf": [3.0]},
    }
    ratio = Ratio(median, low, high)
    pairs = {("ddf", "conv"): ratio, ("ddf", "depth-wise"): ratio}
    found = judge_measured(one, faster, ours, pairs, gpu)
    assert (found.word, found.mean, found.paper) == (word, 6.0, 4.5)
    assert f"{median:.2f} times as long" in found.reason
    opposite = {"holds": "fails", "fails": "holds", "undecided": "undecided"}
    assert judge_measured(one, slower, ours, pairs, gpu).word == opposite[word]
    assert judge_measured(one, memory, ours, pairs, gpu).word == "holds"
    assert judge_measured(one, memory, ours, pairs, torch.device("cpu")).word == "undecided"
    assert judge_measured(one, faster, {**ours, "latency": {}}, pairs, gpu).word == "not made"


ALIKE = Hypothesis("b", "alike", "error", "a")


def test_two_are_alike_within_the_margin_and_not_beyond() -> None:
    near = runs(0.6, images=4000), runs(0.6, images=4000, spread=0.001)
    found = verdict(ALIKE, *near, margin=0.01)
    assert found.word == "holds"
    assert found.reason.startswith("no difference larger than 0.")
    assert verdict(ALIKE, *near, margin=0.001).word == "undecided"
    for far in ((runs(0.6), runs(0.8)), (runs(0.8), runs(0.6))):
        found = verdict(ALIKE, *far)
        assert (found.word, found.reason) == ("fails", "the difference is one that matters")
    same = runs(0.5, images=1000)
    assert verdict(ALIKE, same, same).word == "holds"
    assert verdict(ALIKE, runs(0.5, images=100), runs(0.5, images=100)).word == "undecided"


def errors(level: float, seeds: int = 3, images: int = 60, spread: float = 0.02) -> dict:
    """Root mean squares of images, some of them harder, as scores: the less the better."""
    hard = 1 + np.arange(images) / images
    return {seed: -level * hard * (1 + spread * (seed - (seeds - 1) / 2)) for seed in range(seeds)}


def test_errors_with_a_unit_differ_in_percent_of_the_others() -> None:
    better = Hypothesis("b", "better", "rmse", "a")
    found = {}
    for unit in (1.0, 1000.0):  # metres or millimetres
        scores = {"rmse": {"a": errors(2.0 * unit), "b": errors(1.8 * unit)}}
        difference = contrasts([better], scores)[0]
        size = reference(better, scores)
        assert size == pytest.approx(3.0 * unit, rel=0.02)
        found[unit] = judge(better, None, difference, 0.01 * unit / size)
    assert [one.mean for one in found.values()] == pytest.approx([10.0, 10.0])
    assert found[1.0].word == found[1000.0].word == "holds"
    scores = {"rmse": {"a": errors(1.8), "b": errors(2.0)}}
    worse = judge(better, None, contrasts([better], scores)[0], 0.01)
    assert worse.word == "fails"
    assert worse.mean == pytest.approx(-10.0)
    assert METRICS["rmse"].gain(1.8, 2.0) == -METRICS["rmse"].gain(2.0, 1.8) == pytest.approx(10.0)
    assert METRICS["rmse"].figure(-1.8) == 1.8
    unsure = judge(
        better,
        None,
        contrasts([better], {"rmse": {"a": errors(2.0), "b": errors(1.999, spread=0.2)}})[0],
        1e-4,
    )
    assert unsure.word == "undecided"
    assert unsure.reason.endswith(" %")
    same = judge(better, None, contrasts([better], {"rmse": {"a": errors(2.0), "b": errors(2.0)}})[0], 1.0)
    assert (same.word, same.reason) == ("undecided", "both did the same on all 60 images")


def test_what_needs_no_training_is_the_same_with_all_seeds() -> None:
    """Beside networks it counts with their seeds; two rows of it scatter with images alone."""
    fixed = {"bicubic": errors(4.0, spread=0), "bilateral": errors(3.0, spread=0)}
    claims = [
        Hypothesis("net", "better", "rmse", "bilateral"),
        Hypothesis("bilateral", "better", "rmse", "bicubic"),
    ]
    found = contrasts(claims, {"rmse": {**fixed, "net": errors(2.0)}})
    assert [found[k].mean for k in (0, 1)] == pytest.approx([1 / 3, 1 / 4])
    assert found[0].components is not None
    assert found[1].components is not None
    assert found[0].components.seeds > 1e-6
    assert found[1].components.seeds < 1e-30
    assert judge(claims[1], None, found[1], 0.01).word == "holds"
