"""The jobs of a comparison: their folders, and what each of them trains and measures."""

from __future__ import annotations

import types
from pathlib import Path

import pytest
import torch

from decoupled_nets.compare import CompareConfig, jobs, measure
from decoupled_nets.compare.jobs import costs_job, features_jobs, runs_of, trials_of
from decoupled_nets.compare.run import LEFT_BEHIND
from decoupled_nets.experiment import Work, run_one
from decoupled_nets.experiment.job import loaded
from decoupled_nets.tasks import find_task
from decoupled_nets.training.network import load_network

SMALL = {
    "data": "synthetic", "width": 0.03, "epochs": 1, "batch_size": 8, "train_size": 16, "val_size": 8,
    "test_size": 8, "image_size": 25, "workers": 0, "operators": "conv,tanh-cos", "accelerator": "cpu",
}  # fmt: skip
LONG = (
    "lr=1e-3,2e-3 weight_decay=0.012345678 warmup=0.0123456789 momentum=0.9012345678 ema=0.9012345678"
    " label_smoothing=0.0123456789 drop_rate=0.0123456789 drop_path=0.0123456789 clip_norm=1.0123456789"
    " orthogonality=0.000123456789 layer_decay=0.9012345678"
)


def test_no_folder_has_a_name_that_file_systems_refuse(tmp_path: Path) -> None:
    magnitudes, angles = (
        ("sphere", "ball", "tanh", "linear", "seg", "log", "mix"), ("cos", "sqcos", "linear", "sigmoid")
    )  # fmt: skip
    names = [f"{magnitude}-{angle}" for magnitude in magnitudes for angle in angles]
    config = CompareConfig.of(**{**SMALL, "operators": ",".join(names)}, tune=LONG)
    tried = {name: trials_of(config)[0].arguments["setting"] for name in names}
    every = [
        *trials_of(config), *runs_of(config, tried), *features_jobs(config, tried), costs_job(config, tried),
    ]  # fmt: skip
    for job in every:
        (tmp_path / job.name).mkdir(parents=True)  # each once
        assert any(Path(job.name).match(pattern) for pattern in LEFT_BEHIND)


def test_costs_are_measured_anew_with_other_settings() -> None:
    config = CompareConfig.of(**SMALL)
    chosen = [{}, {"conv": {"lr": 0.1}}, {"conv": {"lr": 0.2}}, {"tanh-cos": {"lr": 0.1}}]
    assert len({costs_job(config, one).name for one in chosen}) == 4
    usual = {"conv": {"lr": config.optim.lr}}
    assert costs_job(config, usual).name == costs_job(config).name


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list:
    """Steps that are named, not measured: module and batch of each."""
    made: list = []

    def whole_step(module, batch, machine, data):  # type: ignore[no-untyped-def]
        made.append((module, batch))

    ratio = types.SimpleNamespace(median=1.0, low=1.0, high=1.0)
    monkeypatch.setattr(measure, "whole_step", whole_step)
    monkeypatch.setattr(measure, "interleaved_ratios", lambda steps: [ratio] * len(steps))
    monkeypatch.setattr(measure, "peak_bytes", lambda step, device: 1)
    return made


def test_the_cost_is_of_the_steps_that_trained(tmp_path: Path, steps: list) -> None:
    config = CompareConfig.of(**SMALL, start="calibrated")
    chosen = {"conv": {"batch_size": 4}, "tanh-cos": {"optimizer": "sgd", "batch_size": 4}}
    trained = runs_of(config, chosen)[1]
    assert run_one(trained, tmp_path) == "done"
    for folder in (tmp_path, tmp_path / "nothing trained"):
        job = costs_job(config, chosen)
        costs = jobs.do_costs(Work(job, folder / job.name, None), **job.arguments)  # type: ignore[arg-type]
        assert [one["operator"] for one in costs] == ["conv", "tanh-cos"]
        (conv, batch), (decoupled, other) = steps[-2:]
        assert (conv.config.optimizer, decoupled.config.optimizer) == ("adam", "sgd")
        assert len(batch[0]) == len(other[0]) == 4
        scales = [value for name, value in decoupled.network.named_buffers() if name.endswith("scale")]
        assert scales  # calibrated, as the run was
    kept = load_network(tmp_path / trained.name / "last.ckpt").state_dict()
    measured = steps[1][0].network.state_dict()
    assert measured.keys() == kept.keys()
    assert all(torch.equal(measured[name], value) for name, value in kept.items())


def test_the_cost_is_of_a_network_with_the_channels_that_it_trained_with(
    monkeypatch: pytest.MonkeyPatch, steps: list
) -> None:
    config = CompareConfig.of(**SMALL)
    run = config.run("conv", 0)
    data, begun = loaded(run), types.SimpleNamespace(network=torch.nn.Conv2d(3, 4, 1))
    monkeypatch.setattr(measure, "begin", lambda task, config, data: begun)
    measure.costs_of(find_task("classify")(data.classes), [("conv", run, Path("none"))], data)
    assert steps[0][0].network is begun.network


def test_networks_for_features_read_no_test_images(tmp_path: Path) -> None:
    (job, _) = features_jobs(CompareConfig.of(**SMALL, feature_epochs=1))
    assert run_one(job, tmp_path) == "done"
    assert (tmp_path / job.name / "last.ckpt").exists()
    assert not (tmp_path / job.name / "test.json").exists()
