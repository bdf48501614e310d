"""Every option of an engine, by what it starts."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from proofs import proves
from small import SIZES

from decoupled_nets.compare import CompareConfig, compare, jobs
from decoupled_nets.experiment import EngineConfig, dispatch
from decoupled_nets.experiment.engines import Engine, Started, ray, slurm
from decoupled_nets.experiment.worker import Worker
from decoupled_nets.training import MachineConfig

CPU = MachineConfig(accelerator="cpu")


class Done(Started):
    def ended(self) -> bool:
        return True

    def stop(self) -> None:
        raise AssertionError("it has ended")


@pytest.fixture
def started(monkeypatch):
    """What was started, as (engine, runs at a time, threads, workers); it is done at once."""
    found = []

    def engine_called(name: str) -> type[Engine]:
        class Noted(Engine):
            def start(self, worker, count):
                found.append((name, self.jobs, worker.threads, count))
                worker()
                return [Done() for _ in range(count)]

        return Noted

    monkeypatch.setattr(dispatch, "engines", lambda: {n: engine_called(n) for n in ("local", "ray", "slurm")})
    for does in ("do_run", "do_features"):
        monkeypatch.setattr(jobs, does, lambda work, **more: threads.append(torch.get_num_threads()))
    monkeypatch.setattr(jobs, "do_costs", lambda work, comparison, chosen: [])
    monkeypatch.setattr("decoupled_nets.compare.run.write_report", lambda results, folder: [])
    monkeypatch.setattr("decoupled_nets.compare.run._found", lambda jobs, folder, origin: [])
    threads: list[int] = []
    return found, threads


def compared(folder, **options):
    options = {
        "data": "synthetic",
        **SIZES,
        "image_size": 25,
        "width": 1 / 32,
        "feature_epochs": 0,
        **options,
    }
    compare(CompareConfig.of(operators="conv,tanh-cos,ball-cos", **options), folder, quiet=True)


@proves(EngineConfig, "engine", "jobs", "threads")
def test_engine_jobs_and_threads(started, tmp_path):
    found, threads = started
    compared(tmp_path / "here", threads=3)
    assert (found, threads) == ([], [3, 3, 3])  # in this process
    compared(tmp_path / "two", jobs=2)
    compared(tmp_path / "ray", engine="ray", jobs=2, threads=2)
    assert found == [("local", 2, 1, 2), ("ray", 2, 2, 2), ("ray", 1, 2, 1)]
    assert threads[3:] == [1, 1, 1, 2, 2, 2]


def test_a_command_takes_the_machine_and_a_call_this_process(monkeypatch, tmp_path):
    from decoupled_nets.cli import compare as command

    seen = []
    monkeypatch.setattr(command, "compare", lambda config, *args, **more: seen.append(config) or 1 / 0)
    for words, number in ([], 0), (["--jobs", "3"], 3):
        with pytest.raises(ZeroDivisionError):
            command.main(["--out", str(tmp_path), *words])
        assert seen[-1].engine.jobs == number
        assert "jobs" not in seen[-1].command
    assert CompareConfig().engine.jobs == 1


@proves(EngineConfig, "gpus_per_job")
@pytest.mark.parametrize(
    ("given", "there", "accelerator", "taken"),
    [(0.25, 4.0, "auto", 0.25), (0.0, 4.0, "auto", 1.0), (0.0, 0.0, "auto", 0.0), (0.0, 4.0, "cpu", 0.0)],
)
def test_gpus_per_job(monkeypatch, tmp_path, given, there, accelerator, taken):
    asked = []

    def options(**resources):
        asked.append(resources)
        return types.SimpleNamespace(remote=lambda worker: worker)

    fake = types.SimpleNamespace(
        init=lambda **more: asked.append(more),
        shutdown=lambda: None,
        cluster_resources=lambda: {"GPU": there},
        remote=lambda function: types.SimpleNamespace(options=options),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    config = EngineConfig(engine="ray", gpus_per_job=given)
    with ray.Ray(config, MachineConfig(accelerator=accelerator), 2) as engine:
        engine.start(Worker((), tmp_path, 3), 2)
    assert asked[1:] == [{"num_cpus": 3, "num_gpus": taken, "max_retries": 0}]
    assert (asked[0]["include_dashboard"], asked[0]["_node_ip_address"]) == (False, "127.0.0.1")
    assert ray.os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with ray.Ray(config, CPU, 2):
        assert "include_dashboard" not in asked[-1]  # a cluster has its own


@proves(EngineConfig, "slurm")
def test_slurm(monkeypatch, tmp_path):
    told = {}
    executor = types.SimpleNamespace(update_parameters=told.update, map_array=lambda function, workers: [])
    fake = types.SimpleNamespace(AutoExecutor=lambda **more: executor)
    monkeypatch.setitem(sys.modules, "submitit", fake)
    config = EngineConfig(engine="slurm", slurm="partition=big,time=30")
    slurm.Slurm(config, CPU, 1).start(Worker((), tmp_path, 1), 1)
    assert (told["slurm_partition"], told["timeout_min"]) == ("big", 30)
