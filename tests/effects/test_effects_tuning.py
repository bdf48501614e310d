"""What is tried, with which seeds, and which differences count as alike."""

from __future__ import annotations

import dataclasses

from proofs import proves
from small import SIZES

from decoupled_nets.compare import CompareConfig
from decoupled_nets.compare.jobs import runs_of, trials_of
from decoupled_nets.compare.run import _empty
from decoupled_nets.reports.summary import summarise
from decoupled_nets.tasks import find_task


@proves(CompareConfig, "tune", "tune_seeds")
def test_trials_are_every_setting_of_every_operator_with_seeds_of_their_own():
    config = CompareConfig.of(operators="conv,tanh-cos", tune="lr=0.1,0.2 warmup=0.3", tune_seeds=2, seed=4)
    jobs = trials_of(config)
    tried = [
        (j.config.operator, j.config.optim.lr, j.config.optim.warmup, j.config.machine.seed) for j in jobs
    ]
    assert tried == [
        (operator, lr, 0.3, seed)
        for seed in (100_004, 100_005)
        for lr in (0.1, 0.2)
        for operator in ("conv", "tanh-cos")
    ]
    assert len({job.name for job in jobs}) == 8
    assert trials_of(dataclasses.replace(config, tune="")) == []


def test_runs_have_what_was_chosen_for_their_operator_and_share_a_folder_where_that_is_the_default():
    config = CompareConfig.of(operators="conv,tanh-cos", lr=0.1)
    jobs = runs_of(config, {"conv": {"lr": 0.1}, "tanh-cos": {"lr": 0.2}})
    assert [(job.name, job.config.optim.lr) for job in jobs] == [
        ("runs/conv-seed0", 0.1),
        ("runs/tanh-cos-lr=0.2-seed0", 0.2),
    ]


@proves(CompareConfig, "margin")
def test_margin_is_in_points():
    config = CompareConfig.of(data="synthetic", margin=2.0, **SIZES)
    kind = find_task(config.task)
    data = kind.load(config.data)
    results = _empty(kind(data.classes), config, data)
    assert results.margin == 0.02
    assert {row.margin for row in summarise(results)} == {0.02}
