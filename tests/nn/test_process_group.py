"""Relative radius in two processes: who shares the mean with whom, and that nobody waits for nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import run_processes
import torch

import decoupled_nets as dn

SCRIPT = Path(run_processes.__file__)


@pytest.fixture
def processes(tmp_path):
    """``processes(case)``: what the two processes ended with."""

    def run(case):
        command = [sys.executable, str(SCRIPT), case]
        started = [
            subprocess.Popen(
                [*command, str(rank), str(tmp_path / f"{case}-store"), str(tmp_path)],
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in (0, 1)
        ]
        try:
            for one in started:
                _, errors = one.communicate(timeout=120)
                assert one.returncode == 0, errors
        finally:
            for one in started:
                one.kill()
        return [torch.load(tmp_path / f"{case}-{rank}.pt", weights_only=True) for rank in (0, 1)]

    return run


def halves():
    return run_processes.batch().chunk(2)


def assert_same(found, wanted, near):
    for name, value in wanted.items():
        near(found[name], value, name=name)


@pytest.mark.slow
def test_a_forward_pass_in_one_process_returns(processes):
    first, second = processes("one_forward")
    assert first["told"] == 1  # and says that the mean is its own
    assert second["told"] == 0


@pytest.mark.slow
def test_independent_trainings_are_not_mixed(near, processes):
    for found, x in zip(processes("independent"), halves(), strict=True):
        assert_same(found, run_processes.train(run_processes.network(), x), near)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["wrapped", pytest.param("checkpointed", marks=pytest.mark.long)])
def test_ddp_trains_as_one_process_on_the_whole_batch(near, processes, case):
    wanted = run_processes.train(run_processes.network(), run_processes.batch())
    losses = wanted.pop("losses")
    found = processes(case)
    for own in found:
        assert own["told"] == 0
        assert_same(own, wanted, near)
    near((found[0]["losses"] + found[1]["losses"]) / 2, losses)


@pytest.mark.slow
def test_sync_is_as_it_says(near, processes):
    x = run_processes.batch()
    whole = run_processes.network()
    whole(x)
    own = []
    for half in halves():
        net = run_processes.network()
        net(half)
        own.append(net[0].mean_norm)
    assert (own[0] - own[1]).abs() > 0.1
    for found in processes("always"):
        near(found["0.mean_norm"], whole[0].mean_norm)
    for found, mean in zip(processes("group"), own, strict=True):
        near(found["0.mean_norm"], mean)
        assert found["told"] == 0
    first, second = processes("never")
    assert (first["0.mean_norm"] - second["0.mean_norm"]).abs() > 0.1


@pytest.mark.slow
def test_nan_of_one_process_stays_out_of_every_average(near, processes):
    whole = run_processes.network()
    whole(run_processes.batch())
    for found in processes("spoilt"):
        assert found["nan"]
        assert found["0.num_updates"] == 1
        near(found["0.mean_norm"], whole[0].mean_norm)


@pytest.mark.slow
def test_a_process_group_is_not_saved(processes):
    assert all(found["named"] for found in processes("saved"))


@pytest.mark.parametrize("sync", ["world", None, 2, object()])
def test_anything_else_is_refused(sync):
    with pytest.raises(
        ValueError, match=r"sync = .* received; needed: 'auto', True, False or a process group"
    ):
        dn.RelativeRadius(sync=sync)
