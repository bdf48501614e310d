import pytest
from report_cases import make_results, make_run

from decoupled_nets.reports.results import Score
from decoupled_nets.reports.summary import lead, summarise


def rows_of(*runs, operators=("conv", "tanh-cos"), seeds=(0,)):
    return summarise(make_results(seeds=seeds, operators=operators, runs=list(runs)))


def test_accuracy_difference_and_interval():
    conv, tanh, *_ = summarise(make_results(seeds=(0, 1)))
    assert conv.score.mean == pytest.approx(0.842)
    assert conv.difference is None
    assert conv.verdict == "the baseline"
    assert tanh.difference.mean == pytest.approx(0.03)
    assert tanh.difference.n == 2
    assert tanh.single.low < 0.870 < tanh.single.high
    assert tanh.attacked["pgd10"].mean == pytest.approx(0.05)
    assert tanh.parameters == 1234
    assert tanh.cost.peak_bytes == 5_000_000


def test_reach_is_per_seed_and_averaged():
    _, tanh = rows_of(
        make_run("conv", 0, [500, 800, 700]),
        make_run("conv", 1, [500, 600, 900]),
        make_run("tanh-cos", 0, [800, 810, 820], seconds=3.0),
        make_run("tanh-cos", 1, [850, 900, 890], seconds=3.0),
        seeds=(0, 1),
    )
    assert (tanh.reach.epochs, tanh.reach.seconds) == (1.5, 4.5)
    assert (tanh.reach.reached, tanh.reach.seeds) == (2, 2)


def test_baseline_reaches_its_own_best():
    conv, _ = rows_of(make_run("conv", 0, [500, 800, 700]))
    assert (conv.reach.epochs, conv.reach.seconds) == (2.0, 4.0)


def test_baseline_never_reached():
    _, tanh = rows_of(make_run("conv", 0, [900, 900]), make_run("tanh-cos", 0, [100, 899]))
    assert (tanh.reach.reached, tanh.reach.epochs, tanh.reach.seconds) == (0, None, None)


def test_missing_operator_and_missing_baseline():
    conv, tanh = rows_of(make_run("conv", 0, [800]))
    assert (tanh.seeds, tanh.score, tanh.single, tanh.reach, tanh.parameters) == (
        0,
        None,
        None,
        None,
        None,
    )
    assert tanh.verdict == "undecided: no finished seed in common"
    conv, tanh = rows_of(make_run("tanh-cos", 0, [800]))
    assert conv.score is None
    assert tanh.reach is None
    assert "has not finished" in lead([conv, tanh])


def test_diverged_runs_count_and_are_named():
    nan = float("nan")
    _, tanh = rows_of(
        make_run("conv", 0, [800, 810]),
        make_run("conv", 1, [800, 810]),
        make_run("tanh-cos", 0, [700, 100], losses=[1.0, nan]),
        make_run("tanh-cos", 1, [700, 820]),
        seeds=(0, 1),
    )
    assert tanh.diverged == 1
    assert tanh.label == "tanh-cos (diverged 1 of 2)"
    assert tanh.score.n == 2
    assert (tanh.reach.reached, tanh.reach.seeds) == (1, 2)


def test_nothing_counted_is_not_an_accuracy():
    run = make_run("conv", 0, [800])
    run.test = Score(float("nan"), 0)
    conv, _ = rows_of(run, make_run("tanh-cos", 0, [800]))
    assert conv.score is None
    assert conv.single is None


def test_lead():
    assert lead(summarise(make_results(runs=[]))) == "No run has finished yet."
    assert lead([]) == "No run has finished yet."
    alone = lead(summarise(make_results(operators=["conv"], seeds=(0,))))
    assert alone == "conv reached 84.0 % test accuracy (one seed). No other operator has finished yet."
    apart = lead(rows_of(make_run("conv", 0, [800]), make_run("tanh-cos", 1, [900]), seeds=(0, 1)))
    assert apart.endswith("They have no finished seed in common, so the difference is not known.")
    text = lead(summarise(make_results()))
    assert "tanh-cos reached 87.2 ± 0.3 % test accuracy" in text
    assert "the highest of the 3 operators compared with it" in text
