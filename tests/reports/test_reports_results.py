import dataclasses
import json
import math

import pytest

from decoupled_nets.reports.results import Cost, Results


def test_round_trip(results):
    assert Results.from_json(results.to_json()) == results


def test_numbers_that_are_not_finite_survive_as_nan(results):
    results.runs[0].history[1].train_loss = float("nan")
    results.runs[0].history[1].seconds = float("inf")
    results.costs[0] = Cost("conv", float("nan"), 1.0, 1.0, 7)
    results.features[0].x[0] = float("nan")
    text = results.to_json()
    json.loads(text, parse_constant=pytest.fail)
    again = Results.from_json(text)
    assert again.runs[0].diverged
    assert math.isnan(again.runs[0].history[1].seconds)
    assert math.isnan(again.costs[0].step_ratio)
    assert math.isnan(again.features[0].x[0])


def test_another_schema_is_refused(results):
    text = json.dumps({**dataclasses.asdict(results), "schema": 99})
    with pytest.raises(ValueError, match="schema 99 found; needed: 3"):
        Results.from_json(text)


def test_load(results, tmp_path):
    (tmp_path / "results.json").write_text(results.to_json(), encoding="utf-8")
    assert Results.load(tmp_path / "results.json") == results
