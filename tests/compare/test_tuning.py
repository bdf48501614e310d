"""What is tried for every operator, and which setting is chosen."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from decoupled_nets._metric import Metric
from decoupled_nets.compare import CompareConfig, RunsFailedError, compare, jobs
from decoupled_nets.compare.tuning import best, settings
from decoupled_nets.reports.results import Results, Trial
from decoupled_nets.training.network import load_config

ACCURACY, ERROR = Metric("accuracy", "accuracy"), Metric("error", "error", better="lower")


def test_settings_are_every_combination_in_the_kinds_of_their_options():
    assert settings("") == []
    assert settings("lr=1e-3,3e-3") == [{"lr": 0.001}, {"lr": 0.003}]
    assert settings("--lr=1,2 batch-size=16,32") == [
        {"lr": lr, "batch_size": size} for lr in (1.0, 2.0) for size in (16, 32)
    ]
    assert settings("class_weights=balanced optimizer=sgd") == [
        {"class_weights": "balanced", "optimizer": "sgd"}
    ]
    (one, other) = settings("weighted_gradients=true,false")
    assert (one["weighted_gradients"], other["weighted_gradients"]) == (True, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr", "tune = 'lr' received; needed: an option and its values, as in 'lr=1e-3,3e-3'"),
        ("lr=", "needed: an option and its values"),
        ("lr=1,", "needed: an option and its values"),
        ("rl=1", "option of the optimisation 'rl'"),
        ("width=0.5", "option of the optimisation 'width'"),
        ("lr=big", "tune: lr = 'big' received; needed: a number"),
        ("batch_size=1.5", "tune: batch_size = '1.5' received; needed: a whole number"),
        ("lr=1,1.0", "needed: each value once"),
        ("lr=1 lr=2", "needed: lr once, with all its values"),
        ("schedule=cosin,linear", "tune: schedule = 'cosin' received; needed: one of cosine, linear"),
        ("lr=-1", "lr = -1.0 received; needed: a positive number"),
        ("ema=0.5,2", "ema = 2.0 received"),
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
    assert best(trials(conv={0.1: [math.nan], 0.2: [math.nan]}), "conv", tried, ACCURACY) == {}


def test_trials_have_seeds_of_their_own():
    config = CompareConfig.of(seeds=5, tune_seeds=2, seed=3)
    assert config.trial_seeds == [100_003, 100_004]
    assert not set(config.trial_seeds) & set(config.all_seeds)


SMALL = {
    "data": "synthetic", "operators": "conv,tanh-cos", "width": 0.03, "epochs": 2, "batch_size": 32,
    "train_size": 96, "val_size": 40, "test_size": 40, "feature_epochs": 0, "seeds": 2, "lr": 3e-3,
}  # fmt: skip


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two learning rates one cannot train anything."""
    folder = tmp_path_factory.mktemp("tuned")
    compare(CompareConfig.of(**SMALL, tune="lr=1e-9,1e-2", tune_seeds=1), folder, quiet=True)
    return folder


def test_every_operator_is_tried_with_the_same_settings_and_what_is_best_is_run(tuned):
    results = Results.load(tuned / "results.json")
    tuning = results.tuning
    assert [(t.setting["lr"], t.operator, t.seed) for t in tuning.trials] == [
        (lr, operator, 100_000) for lr in (1e-9, 1e-2) for operator in ("conv", "tanh-cos")
    ]
    for operator in ("conv", "tanh-cos"):
        assert tuning.chosen[operator] == best(tuning.trials, operator, tuning.settings, results.metric)
        rates = {load_config(p).optim.lr for p in tuned.glob(f"runs/{operator}-lr=*/last.ckpt")}
        assert rates == {tuning.chosen[operator]["lr"]}
        assert [run.seed for run in results.of(operator)] == [0, 1]
        for run, untuned in zip(
            results.of(operator), [r for r in tuning.untuned if r.operator == operator], strict=True
        ):
            assert run.history != untuned.history
            kept = json.loads((tuned / "runs" / f"{operator}-seed{run.seed}" / "result.json").read_text())
            assert kept["result"]["test"]["value"] == untuned.test.value
    assert set(results.differences) == set(tuning.differences) == {"tanh-cos"}
    assert "Tuning" in (tuned / "report.html").read_text()


def test_the_score_of_a_trial_that_diverged_does_not_count(tmp_path):
    """Its logits have a largest one, too."""
    config = CompareConfig.of(
        **{**SMALL, "operators": "conv,tanh-cos", "seeds": 1}, tune="lr=1e30,1e-2", tune_seeds=1
    )
    results, _ = compare(config, tmp_path, quiet=True)
    wild = [trial for trial in results.tuning.trials if trial.setting["lr"] > 1]
    assert any(math.isnan(trial.val) for trial in wild)
    assert set(results.tuning.chosen) == {"conv", "tanh-cos"}
    for trial in wild:
        if math.isnan(trial.val):
            assert results.tuning.chosen[trial.operator] == {"lr": 1e-2}


def test_no_trial_reads_the_test_images(tuned):
    assert len(list(tuned.glob("tune/*/last.ckpt"))) == 4
    assert not [*tuned.glob("tune/*/test.json"), *tuned.glob("tune/*/outcomes.safetensors")]


def test_more_values_only_add_trials(tuned, tmp_path):
    folder = tmp_path / "grown"
    shutil.copytree(tuned, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/result.json")}
    config = CompareConfig.of(**SMALL, tune="lr=1e-9,3e-3,1e-2", tune_seeds=1)
    results, _ = compare(config, folder, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(results.tuning.trials) == 6
    # The value that all operators share without tuning needs no further run.
    names = {path.parent.name for path in folder.glob("runs/*/result.json")} - {p.parent.name for p in before}
    assert not [name for name in names if "0.003" in name]


def test_without_all_trials_nothing_is_chosen_and_the_next_call_goes_on(tuned, tmp_path, monkeypatch):
    folder = tmp_path / "failing"
    shutil.copytree(tuned, folder)
    do, failing = jobs.do_trial, [True]

    def fails(work, **arguments):
        if failing[0] and work.config.operator == "conv":
            raise MemoryError("no room")
        return do(work, **arguments)

    monkeypatch.setattr(jobs, "do_trial", fails)
    config = CompareConfig.of(**SMALL, tune="lr=1e-9,1e-2,2e-2", tune_seeds=1)
    for _ in range(2):  # the second call finds most of the trials
        with pytest.raises(
            RunsFailedError, match=r"^1 failed: conv, .*2e-0?2|^1 failed: conv, .*0\.02"
        ) as failed:
            compare(config, folder, quiet=True)
        results = failed.value.results
        assert results.tuning.chosen == {}
        assert len(results.tuning.trials) == 5
        assert results.runs == []
        assert Results.load(folder / "results.json").runs == []
        page = (folder / "report.html").read_text()
        assert "Incomplete: 5 of 6 trials of tuning finished. Nothing is chosen" in page
    failing[0] = False
    results, _ = compare(config, folder, quiet=True)
    assert set(results.tuning.chosen) == {"conv", "tanh-cos"}
    assert len(results.runs) == 4
    assert "trials of tuning finished" not in (folder / "report.html").read_text()
