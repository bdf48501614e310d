"""What is said of a difference: better, worse, alike or undecided, and what could have been seen."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from report_cases import make_results, make_run

from decoupled_nets._metric import Metric
from decoupled_nets.reports import figures
from decoupled_nets.reports import format as fmt
from decoupled_nets.reports.decision import Components, Difference, differences, pseudo_values
from decoupled_nets.reports.page import render
from decoupled_nets.reports.results import Results, Trial, Tuning
from decoupled_nets.reports.sections.score import alike
from decoupled_nets.reports.summary import at_the_edge, changes, flattened, lead, summarise
from decoupled_nets.reports.summary import tuned as tuned_words
from decoupled_nets.reports.tables import difference_table, tables, tuning_tables


def results_of(conv, tanh, **changes):
    """Two operators, with as many seeds as numbers, each the right ones of 1,000."""
    runs = [make_run("conv", seed, [right]) for seed, right in enumerate(conv)]
    runs += [make_run("tanh-cos", seed, [right]) for seed, right in enumerate(tanh)]
    return make_results(seeds=range(len(conv)), operators=["conv", "tanh-cos"], runs=runs, **changes)


def verdict_of(*args, **changes):
    return summarise(results_of(*args, **changes))[1].verdict


def test_one_seed_decides_nothing():
    near = verdict_of([800], [810])
    assert near.startswith(
        "undecided: +1.0 points with one seed, which says nothing of others; the 95 % inter"
    )
    assert near.endswith("of the two runs overlap")
    assert verdict_of([500], [900]).endswith("do not overlap, but another seed may differ")


@pytest.mark.parametrize(("gain", "word"), [(50, "better"), (-50, "worse")])
def test_an_interval_on_one_side_of_0_is_a_verdict(gain, word):
    text = verdict_of([800, 801, 799, 800], [800 + gain, 802 + gain, 799 + gain, 801 + gain])
    assert text.startswith(f"{word}: {'+' if gain > 0 else '−'}")
    assert text.endswith("of 4 paired seeds")


def test_a_lower_number_can_be_the_better_one():
    metric = Metric("error", "error", "%", "lower")
    results = results_of([800, 801, 799], [850, 853, 849], metric=metric)
    lower = {name: dataclasses.replace(d, better="lower") for name, d in results.differences.items()}
    assert summarise(dataclasses.replace(results, differences=lower))[1].verdict.startswith("worse: +")


def test_alike_gives_the_largest_difference_that_is_left():
    results = results_of([800, 801, 800, 799], [801, 801, 799, 800], margin=0.05)
    text = summarise(results)[1].verdict
    most = max(map(abs, results.differences["tanh-cos"].interval))
    assert text.startswith(f"alike, with no difference larger than {100 * most:.1f} points: ")


def test_undecided_says_what_could_have_been_seen_and_how_many_seeds_see_the_margin():
    results = results_of([800, 830, 790], [810, 800, 830])
    text, found = summarise(results)[1].verdict, results.differences["tanh-cos"]
    assert text.startswith("undecided: +0.7 points, 95 % interval ")
    assert f"differences from {100 * found.detectable:.1f} points on could have been seen" in text
    wide = summarise(dataclasses.replace(results, margin=0.04))[1].verdict
    assert wide.endswith(f", 4.0 points with {found.seeds_for(0.04)} seeds")
    assert text.endswith(f", 0.5 points with {found.seeds_for(0.005)} seeds")
    narrow = dataclasses.replace(results, margin=0.0001)
    assert summarise(narrow)[1].verdict.endswith("no number of seeds sees 0.01 points with these test images")


def test_without_outcomes_of_images_nothing_is_decided():
    text = verdict_of([800, 801], [900, 901], differences={})
    assert text == "undecided: +10.0 points, and nothing is known of single images"


def test_table_of_differences():
    results = results_of([800, 830, 790, 800], [850, 860, 850, 860])
    found = results.differences["tanh-cos"]
    (row,) = difference_table(summarise(results)).rows
    low, high = found.interval
    ends = f"{100 * low:+.1f} to {100 * high:+.1f}".replace("-", "−")
    assert row == [
        "tanh-cos", "+5.0", ends, fmt.share(found.ahead),
        found.verdict(0.005), f"{100 * found.detectable:.1f}", fmt.count(found.seeds_for(0.005)),
    ]  # fmt: skip
    assert [t.caption for t in tables(summarise(results))][1] == "Differences from conv"
    assert len(tables(summarise(results_of([800], [810])))) == 2


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "> 99 %"), (0.0, "< 1 %"), (0.734, "73 %"), (math.nan, "–")]
)
def test_a_chance_is_never_certain(share, text):
    assert fmt.share(share) == text


def test_lead_gives_the_verdict():
    results = results_of([800, 801, 799], [850, 853, 849])
    assert f"Against conv it is {summarise(results)[1].verdict}." in lead(summarise(results))


def curves(conv, tanh):
    """Two operators with these validation accuracies by epoch, in thousandths."""
    runs = [
        make_run(name, seed, values)
        for seed in range(3)
        for name, values in (("conv", conv), ("tanh-cos", tanh))
    ]
    return make_results(seeds=(0, 1, 2), operators=["conv", "tanh-cos"], runs=runs)


@pytest.mark.parametrize(
    ("conv", "tanh", "words"),
    [
        (
            (500, 600, 700),
            (500, 600, 720),
            "of tanh-cos rose by 12.0 points, and the differences changed by up to 2.0",
        ),
        ((500, 600, 700), (500, 600, 720), "more than every difference here: training had not flattened"),
        ((500, 700, 701, 702), (500, 720, 722, 723), "changed by up to 0.00 points: training had flattened"),
        ((500, 700, 701, 711), (500, 740, 742, 750), "less than any difference here"),
        # Gains of two operators that cancel are no rest.
        (
            (500, 600, 650, 700),
            (500, 700, 770, 730),
            "of conv rose by 5.0 points, and the differences changed by up to 9.0",
        ),
        ((500, 600, 650, 640), (500, 700, 770, 700), "of tanh-cos fell by 7.0 points"),
    ],
)
def test_page_says_whether_training_had_flattened(conv, tanh, words):
    results = curves(conv, tanh)
    text = flattened(results, summarise(results))
    assert words in text
    assert text in render(results, summarise(results), {})


def test_changes_are_those_of_the_last_quarter():
    results = make_results(seeds=(0,), operators=["conv"], runs=[make_run("conv", 0, [0, 100, 300, 400] * 2)])
    assert changes(results) == {"conv": pytest.approx(0.3)}  # from the sixth of eight epochs on
    assert changes(make_results(seeds=(0,), operators=["conv"], runs=[make_run("conv", 0, [500])])) == {}


def test_pseudo_values_of_a_ratio_average_to_it_but_for_its_bias():
    generator = np.random.default_rng(0)
    both = generator.integers(0, 50, (400, 3))
    outcomes = np.concatenate([both, both + generator.integers(1, 50, (400, 3))], 1)

    def value(totals, images):
        return float((totals[:3] / totals[3:]).mean())

    values = pseudo_values(outcomes, value)
    assert values.mean() == pytest.approx(value(outcomes.sum(0), 400), abs=1e-4)
    # What they say of the choice of images is what drawing images again says.
    drawn = [value(outcomes[generator.integers(0, 400, 400)].sum(0), 400) for _ in range(2000)]
    assert values.std(ddof=1) / 20 == pytest.approx(np.std(drawn), rel=0.1)


def tuned():
    results = results_of([840, 850, 845], [870, 875, 872])
    settings = [{"lr": 0.001}, {"lr": 0.003}]
    trials = [
        Trial(operator, setting, seed, val + 0.01 * seed)
        for operator, values in (("conv", (0.7, 0.8)), ("tanh-cos", (0.75, 0.65)))
        for setting, val in zip(settings, values, strict=True)
        for seed in (100, 101)
    ]
    for trial in trials:
        trial.val -= 1.0
    untuned = [make_run("conv", s, [830 + s]) for s in range(3)]
    untuned += [make_run("tanh-cos", s, [835 + 3 * s]) for s in range(3)]
    scores = {"conv": {}, "tanh-cos": {}}
    for run in untuned:
        scores[run.operator][run.seed] = (np.arange(1000) < round(1000 * run.test.value)).astype(float)
    results.tuning = Tuning(
        settings, [100, 101], trials, {"conv": settings[1], "tanh-cos": settings[0]}, untuned,
        differences(scores, "conv", resamples=500),
    )  # fmt: skip
    return results


def test_tuning_is_shown_beside_what_was_not_tuned():
    results = tuned()
    tried, changed = tuning_tables(results)
    assert tried.header == ["Operator", "lr 0.001", "lr 0.003"]
    assert tried.rows == [
        ["conv", "70.5 ± 0.7", "80.5 ± 0.7 ◂"],
        ["tanh-cos", "75.5 ± 0.7 ◂", "65.5 ± 0.7"],
    ]
    conv, tanh = changed.rows
    assert (conv[1], conv[3], conv[4]) == ("83.1 ± 0.1", "lr 0.003", "84.5 ± 0.5")
    assert tanh[2].startswith("+0.7 (")
    assert tanh[5].startswith("+2.7 (")
    page = render(results, summarise(results), {})
    assert "<h2>Tuning</h2>" in page
    assert "100 and 101" in page
    assert "lies at the edge" in page  # of two values both do
    assert "<h2>Tuning</h2>" not in render(results_of([800], [810]), summarise(results_of([800], [810])), {})


def test_terminal_says_what_was_chosen():
    assert tuned_words(tuned()) == (
        "Chosen on validation images: conv lr 0.003, at the edge of what was tried; tanh-cos lr 0.001, at the"
        " edge of what was tried. The page has all of them untuned, too."
    )
    assert tuned_words(results_of([800], [810])) == ""


def test_words_name_the_epochs_that_the_last_quarter_is():
    short, long = curves((500, 600, 700), (500, 600, 720)), curves((500,) * 8, (500,) * 7 + (600,))
    assert flattened(short, summarise(short)).startswith("In the last epoch the validation")
    assert flattened(long, summarise(long)).startswith("In the last 2 epochs the validation")


def test_edge_of_a_range():
    settings = [{"lr": lr, "optimizer": "sgd"} for lr in (0.1, 0.2, 0.3)]
    assert [at_the_edge(one, settings) for one in settings] == [True, False, True]
    decays = [{"weight_decay": decay} for decay in (0.0, 0.1, 0.2)]
    assert [at_the_edge(one, decays) for one in decays] == [False, False, True]  # nothing lies below 0
    assert not at_the_edge({"lr": 0.1}, [{"lr": 0.1}])


def test_decisions_and_tuning_survive_the_file():
    results = tuned()
    results.differences["nothing"] = Difference(0.1, 1, 1000)
    read = Results.from_json(results.to_json())
    assert read.tuning == results.tuning
    assert read.differences["tanh-cos"] == results.differences["tanh-cos"]
    assert isinstance(read.differences["tanh-cos"].components, Components)
    assert read.differences["nothing"].interval is None
    assert json.loads(results.to_json())["margin"] == 0.005


def test_operators_that_are_one_function_behind_the_first_layer_are_named():
    assert "tanh-cos and tanh-linear differ in their angle alone" in alike(
        ["conv", "tanh-cos", "tanh-linear"]
    )
    assert alike(["conv", "tanh-cos", "tanh-sqcos", "ball-cos"]) == ""
    names = ["conv", "tanh-cos", "tanh-sigmoid"]
    results = make_results(operators=names, runs=[make_run(name, 0, [800]) for name in names])
    assert "tanh-cos and tanh-sigmoid differ" in render(results, summarise(results), {})


def test_picture_of_differences_has_intervals_seeds_and_the_margin():
    results = results_of([800, 830, 790], [850, 860, 850], margin=0.01)
    (axes,) = figures.differences(results).axes
    found = results.differences["tanh-cos"]
    drawn = [list(map(float, line.get_xdata())) for line in axes.get_lines()]
    assert [100 * end for end in found.interval] in [pytest.approx(x) for x in drawn]
    assert [5.0, 3.0, 6.0] in [pytest.approx(x) for x in drawn]
    assert [100 * found.mean] in [pytest.approx(x) for x in drawn]
    (band,) = axes.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((-1.0, 1.0))
    assert found.verdict(0.01) in [text.get_text() for text in axes.texts]
