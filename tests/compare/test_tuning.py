"""What is tried for every operator, and which setting is chosen."""

from __future__ import annotations

import math

import pytest

from decoupled_nets._metric import Metric
from decoupled_nets.compare import CompareConfig
from decoupled_nets.compare.tuning import best, settings
from decoupled_nets.reports.results import Trial

ACCURACY, ERROR = Metric("accuracy", "accuracy"), Metric("error", "error", better="lower")


def test_settings_are_every_combination_in_the_kinds_of_their_options():
    assert settings("") == []
    assert settings("lr=1e-3,3e-3") == [{"lr": 0.001}, {"lr": 0.003}]
    assert settings("--lr=1,2 batch-size=16,32") == [
        {"lr": lr, "batch_size": size} for lr in (1.0, 2.0) for size in (16, 32)
    ]
    (one, other) = settings("weighted_gradients=true,false")
    assert (one["weighted_gradients"], other["weighted_gradients"]) == (True, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr", "tune = 'lr' received; needed: an option and its values, as in lr=1e-3,3e-3"),
        ("lr=", "needed: an option and its values"),
        ("lr=1,", "needed: an option and its values"),
        ("rl=1", "option of the optimisation 'rl'"),
        ("width=0.5", "option of the optimisation 'width'"),
        ("lr=big", "tune: lr = 'big' received; needed: a number"),
        ("batch_size=1.5", "tune: batch_size = '1.5' received; needed: a whole number"),
        ("lr=1,1.0", "needed: each value once"),
    ],
)
def test_what_cannot_be_tried_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        CompareConfig.of(tune=text)


def trials(**values):
    return [
        Trial(name, {"lr": lr}, seed, val)
        for name, by_lr in values.items()
        for lr, vals in by_lr.items()
        for seed, val in enumerate(vals)
    ]


def test_the_best_mean_is_chosen_for_each_operator():
    found = trials(conv={0.1: [0.5, 0.7], 0.2: [0.9, 0.1]}, tanh={0.1: [0.1, 0.2], 0.2: [0.3, 0.3]})
    tried = [{"lr": 0.1}, {"lr": 0.2}]
    assert best(found, "conv", tried, ACCURACY) == {"lr": 0.1}
    assert best(found, "tanh", tried, ACCURACY) == {"lr": 0.2}
    assert best(found, "tanh", tried, ERROR) == {"lr": 0.1}


def test_a_setting_that_diverged_once_is_not_chosen():
    tried = [{"lr": 0.1}, {"lr": 0.2}]
    found = trials(conv={0.1: [0.5, 0.5], 0.2: [0.9, math.nan]})
    assert best(found, "conv", tried, ACCURACY) == {"lr": 0.1}
    with pytest.raises(ValueError, match="no setting of conv ended with a number"):
        best(trials(conv={0.1: [math.nan]}), "conv", tried, ACCURACY)


def test_trials_have_seeds_of_their_own():
    config = CompareConfig.of(seeds=5, tune_seeds=2, seed=3)
    assert config.trial_seeds == [100_003, 100_004]
    assert not set(config.trial_seeds) & set(config.all_seeds)
