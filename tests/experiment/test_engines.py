"""Engines: how many workers, and where."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest
import torch
from job_cases import job, workers

from decoupled_nets.experiment import EngineConfig, devices, execute
from decoupled_nets.experiment.engines import engines, local, slurm
from decoupled_nets.experiment.worker import Worker
from decoupled_nets.training import MachineConfig

CPU = MachineConfig(accelerator="cpu")


def test_each_engine_is_a_file() -> None:
    assert set(engines()) == {"local", "ray", "slurm"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "rai"}, "unknown engine 'rai' .did you mean 'ray'"),
        ({"jobs": -1}, "jobs = -1 received; needed: at least 0"),
        ({"threads": -1}, "threads = -1 received"),
        ({"engine": "ray", "gpus_per_job": -0.5}, "gpus_per_job = -0.5 received"),
        ({"gpus_per_job": 0.5}, "gpus_per_job = 0.5 received with engine=local; needed: engine=ray"),
        ({"engine": "ray", "slurm": "time=3"}, "needed: engine=slurm"),
        ({"engine": "slurm", "slurm": "time"}, "needed: options as in partition=gpu,time=120"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineConfig(**options)


def test_options_of_slurm() -> None:
    config = EngineConfig(engine="slurm", slurm="partition=gpu, time=120,gres=gpu:1")
    assert config.slurm_options == {"partition": "gpu", "time": 120, "gres": "gpu:1"}


def test_how_many_fit_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(devices, "free_bytes", lambda: 20 * 2**30)
    assert devices.jobs_that_fit(CPU, 1) == 8
    assert devices.jobs_that_fit(CPU, 3) == 2
    assert devices.jobs_that_fit(CPU, 1, 4 * 2**30) == 4
    assert devices.jobs_that_fit(CPU, 16) == 1
    monkeypatch.setattr(devices, "free_bytes", lambda: None)
    assert devices.jobs_that_fit(CPU, 1, 2**40) == 8
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices.jobs_that_fit(MachineConfig(), 1) == 3
    assert devices.jobs_that_fit(CPU, 1) == 8


def test_threads_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 12)
    assert [EngineConfig().threads_for(CPU, n) for n in (1, 4)] == [1, 1]
    assert EngineConfig(threads=5).threads_for(CPU, 4) == 5
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [EngineConfig().threads_for(MachineConfig(), n) for n in (1, 4, 20)] == [12, 3, 1]


class Counted:
    """A worker that ends when told to."""

    def __init__(self, device: str | None) -> None:
        self.device, self.over = device, False

    def ended(self) -> bool:
        return self.over


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(local, "_Process", lambda worker, device: Counted(device))


def given(engine: local.Local, count: int) -> list:
    return engine.start(Worker((), Path(), 1), count)


def test_each_process_has_a_gpu_in_turn(monkeypatch: pytest.MonkeyPatch, two_gpus: None) -> None:
    engine = local.Local(EngineConfig(), MachineConfig(), 3)
    started = [one.device for count in (1, 2) for one in given(engine, count)]
    assert started == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    engine = local.Local(EngineConfig(), MachineConfig(), 3)
    assert [one.device for one in given(engine, 2)] == ["4", "7"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert given(engine, 1)[0].device is None


def test_whoever_takes_the_place_of_the_dead_has_their_gpu(two_gpus: None) -> None:
    """In turn, two runs would share one GPU while the other has nothing to do."""
    engine = local.Local(EngineConfig(), MachineConfig(), 2)
    started = given(engine, 2)
    for k in (1, 0, 0):
        started[k].over = True
        started[k] = given(engine, 1)[0]
        assert [one.device for one in started] == ["0", "1"]


@pytest.mark.parametrize(("engine", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ValueError, match=rf'{module} is not installed; needed: pip install "decoupled-nets\['
    ):
        execute([job("a")], tmp_path, EngineConfig(engine=engine), quiet=True)


def test_an_array_has_a_task_for_each_job_and_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict = {}

    class Executor:
        def __init__(self, folder: Path, cluster: str) -> None:
            told.update(folder=folder, cluster=cluster)

        def update_parameters(self, **options: object) -> None:
            told.update(options)

        def map_array(self, function, workers):  # type: ignore[no-untyped-def]
            told["workers"] = workers
            return [types.SimpleNamespace(done=lambda: True, state="COMPLETED")] * len(workers)

    fake = types.SimpleNamespace(AutoExecutor=Executor)
    monkeypatch.setitem(sys.modules, "submitit", fake)
    config = EngineConfig(engine="slurm", slurm="partition=gpu,time=90,gpus-per-task=1")
    started = slurm.Slurm(config, CPU, 2).start(Worker((job("a"),), tmp_path, 3, most=1), 5)
    assert len(started) == 5
    assert [worker.most for worker in told.pop("workers")] == [1] * 5
    assert told == {
        "folder": tmp_path / "slurm", "cluster": "slurm", "cpus_per_task": 3, "slurm_array_parallelism": 2,
        "slurm_partition": "gpu", "timeout_min": 90, "slurm_gpus_per_task": 1,
    }  # fmt: skip


@pytest.mark.sweep
def test_slurms_adapter_on_submitits_local_executor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases_elsewhere: None
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(slurm.Slurm, "cluster", "local")
    jobs = [job("a"), job("b", "fail")]
    outcome = execute(jobs, tmp_path, EngineConfig(engine="slurm", jobs=2), quiet=True)
    assert outcome.done == jobs[:1]
    assert outcome.failed[0].error == "ZeroDivisionError: of no use"
    assert os.getpid() not in workers(tmp_path, "a")


@pytest.mark.sweep
def test_a_ray_cluster_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases_elsewhere: None
) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    jobs = [job("a"), job("b"), job("c", "fail"), job("d", "die_once")]
    outcome = execute(jobs, tmp_path, EngineConfig(engine="ray", jobs=2), quiet=True)
    assert outcome.done == [jobs[0], jobs[1], jobs[3]]
    assert [one.job for one in outcome.failed] == [jobs[2]]
    assert os.getpid() not in workers(tmp_path, "a")
