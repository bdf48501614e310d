"""Results that an earlier version wrote."""

import json

import pytest

from decoupled_nets._statistics import bootstrap, wilson
from decoupled_nets.reports.results import Results
from decoupled_nets.reports.summary import lead, summarise

OLD = {
    "operators": ["conv", "tanh-cos"], "seeds": [0], "config": {"model": "cnn9"},
    "data": {"name": "x", "classes": ["a", "b"]}, "environment": {}, "attack_radius": 8 / 255,
    "runs": [
        {
            "operator": operator, "seed": 0, "parameters": 12,
            "history": [
                {
                    "epoch": 1, "train_loss": 1.0, "val_loss": None, "val": {"correct": 3, "total": 4},
                    "seconds": 2.0,
                }
            ],
            "test": {"correct": correct, "total": 100}, "attacked": {"fgsm": {"correct": 1, "total": 10}},
        }
        for operator, correct in (("conv", 80), ("tanh-cos", 90))
    ],
    "costs": [],
    "features": [
        {"operator": "conv", "x": [1.0], "y": [2.0], "label": [0], "val": {"correct": 1, "total": 2}}
    ],
    "schema": 2,
}  # fmt: skip


def test_schema_2_is_read_as_classification():
    results = Results.from_json(json.dumps(OLD))
    assert (results.task, results.metric.name, results.interval, results.schema) == (
        "classify", "accuracy", "wilson", 3,
    )  # fmt: skip
    conv, tanh = results.runs
    assert (conv.test.value, tanh.test.value, conv.test.images) == (0.8, 0.9, 100)
    assert conv.test.interval == wilson(80, 100)
    assert (conv.history[0].val, conv.attacked["fgsm"].value, results.features[0].val) == (0.75, 0.1, 0.5)
    assert conv.history[0].val_loss != conv.history[0].val_loss
    assert "tanh-cos reached 90.0 % test accuracy" in lead(summarise(results))
    assert Results.from_json(results.to_json()).to_json() == results.to_json()


def test_older_ones_are_refused_by_name():
    with pytest.raises(ValueError, match="results schema 1 found; needed: 3"):
        Results.from_json(json.dumps({**OLD, "schema": 1}))


def test_the_bootstrap_covers_what_wilson_covers():
    import torch

    outcomes = (torch.arange(400) < 300).long()[:, None]
    found = bootstrap(outcomes, lambda totals, images: float(totals[0]) / images)
    expected = wilson(300, 400)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert found == bootstrap(outcomes, lambda totals, images: float(totals[0]) / images)
