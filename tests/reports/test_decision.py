"""What a comparison can decide: intervals that cover, components that are found, and designs that suffice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from decoupled_nets.reports.decision import Components, Difference, components, differences


def table(generator, seeds, images, *, mean=0.0, of_seeds=0.0, of_images=0.0, rest=1.0):
    """Differences with these standard deviations."""
    return (
        mean
        + generator.normal(0, of_seeds, (seeds, 1))
        + generator.normal(0, of_images, (1, images))
        + generator.normal(0, rest, (seeds, images))
    )


def scored(tables):
    """Runs whose differences to a baseline of zeros are these tables."""
    seeds, images = next(iter(tables.values())).shape
    base = {seed: np.zeros(images) for seed in range(seeds)}
    return {"base": base} | {name: dict(enumerate(t)) for name, t in tables.items()}


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    ("of_seeds", "of_images"), [(0.1, 0.5), (0.0, 1.0), (0.3, 0.0)], ids=["both", "images", "seeds"]
)
def test_intervals_of_all_operators_hold_at_once(seeds, of_seeds, of_images):
    """In about 95 of 100 draws of seeds and images; baseline and images are shared."""
    generator = np.random.default_rng(0)
    held, draws = 0, 300
    for _ in range(draws):
        shared = table(generator, seeds, 200, of_seeds=of_seeds, of_images=of_images, rest=0.3)
        own = {
            name: shared + table(generator, seeds, 200, of_seeds=of_seeds, of_images=of_images, rest=0.3)
            for name in "abc"
        }
        found = differences(scored(own), "base", resamples=1000)
        held += all(d.interval[0] <= 0 <= d.interval[1] for d in found.values())
    assert 0.91 <= held / draws <= 0.995


def test_more_operators_make_wider_intervals():
    generator = np.random.default_rng(0)
    tables = {str(i): table(generator, 5, 100, of_seeds=0.2) for i in range(8)}
    one = differences(scored({"0": tables["0"]}), "base")["0"]
    all_of_them = differences(scored(tables), "base")["0"]
    assert 1.15 < all_of_them.reach / one.reach < 1.9
    assert all_of_them.widening == pytest.approx(all_of_them.reach / one.reach)
    assert all_of_them.mean == one.mean
    assert all_of_them.components == one.components


def test_one_operator_has_students_interval_where_only_seeds_differ():
    generator = np.random.default_rng(0)
    own = np.repeat(generator.normal(0, 1, (4, 1)), 50, 1)
    found = differences(scored({"a": own}), "base", resamples=40_000)["a"]
    error = own[:, 0].std(ddof=1) / 2
    assert found.reach == pytest.approx(3.182 * error, rel=0.1)  # the 97.5 % quantile of Student's t


def test_components_are_found():
    generator = np.random.default_rng(0)
    found = components(table(generator, 400, 500, of_seeds=0.2, of_images=0.7, rest=1.1))
    assert found.seeds == pytest.approx(0.04, rel=0.2)
    assert found.images == pytest.approx(0.49, rel=0.2)
    assert found.rest == pytest.approx(1.21, rel=0.02)
    assert found.of_mean(4, 500) == pytest.approx(0.04 / 4 + 0.49 / 500 + 1.21 / 2000, rel=0.2)


@pytest.mark.parametrize(("seeds", "images"), [(1, 5), (5, 1)])
def test_components_need_two_of_each(seeds, images):
    with pytest.raises(ValueError, match=f"{seeds} seeds and {images} images received; needed: at least 2"):
        components(np.zeros((seeds, images)))


def test_a_detectable_difference_is_found_in_80_of_100_cases():
    generator = np.random.default_rng(0)
    settings = {"of_seeds": 0.3, "of_images": 0.5, "rest": 1.0}
    known = differences(scored({"a": table(generator, 200, 200, **settings)}), "base")["a"]
    seeds = known.seeds_for(0.4)
    assert known._detectable(seeds) <= 0.4 < known._detectable(seeds - 1)
    hits = 0
    for _ in range(200):
        own = table(generator, seeds, 200, mean=0.4, **settings)
        hits += differences(scored({"a": own}), "base", resamples=300)["a"].verdict(0.0) == "better"
    assert 0.7 <= hits / 200 <= 0.92


def test_no_number_of_seeds_makes_up_for_images():
    generator = np.random.default_rng(0)
    found = differences(scored({"a": table(generator, 20, 50, of_images=1.0, rest=0.1)}), "base")["a"]
    assert found.seeds_for(0.05) is None
    assert found.seeds_for(2.0) == 2
    with pytest.raises(ValueError, match="difference = 0 received; needed: a positive number"):
        found.seeds_for(0)


@pytest.mark.parametrize(
    ("mean", "margin", "said"),
    [(0.5, 0.1, "better"), (-0.5, 0.1, "worse"), (0.0, 0.2, "alike"), (0.0, 0.001, "undecided")],
)
def test_verdicts(mean, margin, said):
    generator = np.random.default_rng(3)
    own = table(generator, 6, 400, mean=mean, of_seeds=0.02, rest=0.5)
    found = differences(scored({"a": own}), "base")["a"]
    assert found.verdict(margin) == said
    assert found.ahead == pytest.approx({"better": 1, "worse": 0}.get(said, found.ahead), abs=0.01)


def test_one_seed_decides_nothing():
    found = differences(scored({"a": np.ones((1, 50))}), "base")["a"]
    assert found.mean == 1
    assert found.interval is None
    assert found.detectable is None
    assert found.seeds_for(0.1) is None
    assert found.verdict(5.0) == "undecided"


def test_seeds_without_a_partner_do_not_count():
    generator = np.random.default_rng(0)
    runs = scored({"a": table(generator, 4, 60), "b": table(generator, 4, 60)})
    del runs["b"][3], runs["base"][0]
    runs["c"] = {0: np.zeros(60)}
    found = differences(runs, "base")
    assert {name: d.seeds for name, d in found.items()} == {"a": 3, "b": 2}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"baseline 'x' received; needed: one of \['a'\]"):
        differences({"a": {0: np.zeros(3)}}, "x")
    with pytest.raises(ValueError, match=r"scored on \[2, 3\] images received; needed: as many for all"):
        differences({"a": {0: np.zeros(3)}, "b": {0: np.zeros(2)}}, "a")


def test_two_seeds_that_agree_by_chance_are_no_certainty():
    """Equal means of both seeds leave the interval as wide as means that differ by next to nothing."""
    places = np.arange(12)
    zeros = dict.fromkeys((0, 1), np.zeros(12))
    first, second = -(places < 3).astype(float), -((places >= 2) & (places < 5)).astype(float)
    equal = differences({"a": {0: first, 1: second}, "": zeros}, "")["a"]
    nearly = differences({"a": {0: first, 1: second + 1e-6 * (places == 0)}, "": zeros}, "")["a"]
    assert equal.components.seeds == 0 < equal.components.rest
    assert equal.reach == pytest.approx(nearly.reach, rel=0.1)
    assert equal.verdict(0.0) == "undecided"


def test_equal_runs_are_alike():
    found = differences(scored({"a": np.zeros((3, 10))}), "base")["a"]
    assert found.interval == (0, 0)
    assert found.verdict(0.0) == "alike"
    assert found.components == Components(0, 0, 0)


@pytest.mark.parametrize("operators", [1, 3, 8])
def test_seeds_for_a_difference_do_not_depend_on_how_many_were_run(operators):
    """Where the variances are known, few seeds widen the interval now, not that of more seeds."""
    answers = []
    for seeds in (3, 5, 34):
        alone = Difference(0.0, seeds, 2000, Components(1e-4, 1e-4, 0.01), operators=operators)
        widening = alone._reaches(seeds)[1]
        answers.append(dataclasses.replace(alone, widening=widening).seeds_for(0.005))
    assert None not in answers
    assert max(answers) <= 1.1 * min(answers)


def test_only_images_make_a_difference_invisible():
    noisy = Difference(0.0, 3, 1000, Components(36e-4, 0.0, 0.0))
    assert 1_000 < noisy.seeds_for(0.005) < 3_000
    assert Difference(0.0, 3, 1000, Components(0.0, 0.1, 0.0)).seeds_for(0.005) is None
