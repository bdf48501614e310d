"""Whole adversarial runs: resumption to the bit, processes, precision, compilation, the step."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from adversarial_cases import WAYS
from torch import nn

import decoupled_nets as dn
from decoupled_nets._progress import Progress
from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.tasks import find_task
from decoupled_nets.training import (
    AdversarialConfig,
    MachineConfig,
    OptimConfig,
    TaskModule,
    TrainConfig,
    callbacks,
    fit,
    load_checkpoint,
    train,
)
from decoupled_nets.training.step import whole_step

SMALL = {
    "data": "synthetic", "width": 0.03, "epochs": 2, "batch_size": 32, "train_size": 128, "val_size": 32,
    "test_size": 20, "lr": 3e-3, "adversarial": "n-fgsm",
}  # fmt: skip
EVERYTHING = {
    **SMALL, "model": "resnet32", "width": 0.05, "ema": 0.9, "accumulate": 3, "clip_norm": 0.5, "mixup": 0.4,
    "cutmix": 1.0, "randaugment": 5, "random_erasing": 0.5, "sampling": "balanced", "drop_rate": 0.2,
    "class_weights": "balanced", "drop_path": 0.3, "channels_last": True, "adversarial": "pgd",
    "adversarial_steps": 2,
}  # fmt: skip


def same(ours: Path, theirs: Path) -> None:
    """Weights, statistics and history of two runs are equal to the bit."""
    for name in ("last.ckpt", "best.ckpt"):
        one, two = (load_checkpoint(folder / name) for folder in (ours, theirs))
        for state in ("state_dict", "current_model_state"):
            if state in one:
                assert all(torch.equal(value, two[state][key]) for key, value in one[state].items())
        histories = [[{**row, "seconds": 0} for row in each["history"]] for each in (one, two)]
        assert histories[0] == histories[1]


def start(folder: Path, options: dict, *more: str) -> subprocess.Popen[str]:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        [sys.executable, "-m", "decoupled_nets.cli.main", "train", *words, "--out", str(folder), *more],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.long
def test_kill_and_resume_end_with_the_same_bits(tmp_path):
    train(TrainConfig.of(**SMALL), tmp_path / "whole", quiet=True)
    folder = tmp_path / "killed"
    process = start(folder, SMALL, "--checkpoint-minutes", "0")
    for _ in range(6000):
        if (folder / "last.ckpt").exists() or process.poll() is not None:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    resumed = start(folder, SMALL, "--resume", "--checkpoint-minutes", "0")
    output, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, output
    same(folder, tmp_path / "whole")


@pytest.mark.parametrize("batch", [1, pytest.param(4, marks=pytest.mark.long)])
def test_an_interrupt_with_everything_on_loses_nothing(tmp_path, monkeypatch, batch):
    train(TrainConfig.of(**EVERYTHING), tmp_path / "whole", quiet=True)
    count, seen = callbacks.StepProgress.on_train_batch_end, []

    def interrupt(self, trainer, *args):
        count(self, trainer, *args)
        seen.append(trainer.global_step)
        if len(seen) == batch:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepProgress, "on_train_batch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(TrainConfig.of(**EVERYTHING), tmp_path / "parts", quiet=True)
    resumed = train(TrainConfig.of(**EVERYTHING), tmp_path / "parts", resume=True, quiet=True)
    same(tmp_path / "parts", tmp_path / "whole")
    best = load_checkpoint(tmp_path / "parts" / "best.ckpt")
    assert all(torch.equal(value, best["state_dict"][key]) for key, value in resumed.state_dict().items())
    assert resumed.tested["epoch"] == best["history"][-1]["epoch"]


@pytest.mark.long
def test_several_processes_attack_as_one_does(tmp_path):
    """float64 shows that only rounding differs; BatchNorm's statistics would be each process's own."""
    options = {
        **SMALL, "precision": "64-true", "batch_norm": "false", "operator": "ball-cos", "batch_size": 32,
        "adversarial": "pgd", "adversarial_steps": 2,
    }  # fmt: skip
    histories = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        strategy = "ddp" if devices > 1 else "auto"
        process = start(folder, {**options, "devices": devices, "strategy": strategy})
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        histories.append(load_checkpoint(folder / "last.ckpt")["history"])
    for one, two in zip(*histories, strict=True):
        for name in ("train_loss", "val_loss", "val_clean", "val_fgsm", "val_pgd"):
            assert two[name] == pytest.approx(one[name], rel=1e-5), name


@pytest.fixture(scope="module")
def data():
    return load_data(
        DataConfig(data="synthetic", train_size=16, val_size=8, test_size=8, image_size=16, workers=0)
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    layer = dn.DecoupledConv2d(3, 4, 3)
    return nn.Sequential(
        layer, nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 4)
    )


def module_of(data, way: str, start: nn.Module, **options) -> TaskModule:
    config = OptimConfig(epochs=1, batch_size=16, schedule="constant", warmup=0.0, lr=0.05, **options)
    adversarial = AdversarialConfig(way, adversarial_steps=2)
    return TaskModule(copy.deepcopy(start), find_task("classify")(data.classes), config, 1, adversarial)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
@pytest.mark.parametrize("way", WAYS)
def test_the_step_whose_time_is_measured_is_the_step_that_trains(data, tmp_path, way, precision):
    machine, begun = MachineConfig(accelerator="cpu", precision=precision, seed=3), network()
    options = {"label_smoothing": 0.1, "mixup": 0.3}
    with Progress(1, "", quiet=True) as progress:
        trained = fit(module_of(data, way, begun, **options), data, machine, tmp_path, progress, "")
    alone = module_of(data, way, begun, **options)
    whole_step(alone, next(iter(data.train_loader(16, machine.seed))), machine)()
    for name, value in trained.network.state_dict().items():
        assert torch.equal(value, alone.network.state_dict()[name]), name
    plain = module_of(data, "none", begun, **options)
    whole_step(plain, next(iter(data.train_loader(16, machine.seed))), machine)()
    assert not torch.equal(plain.network[5].weight, alone.network[5].weight)


def test_a_compiled_network_is_trained_and_attacked_alike(data):
    begun, losses = network(), []
    batch = next(iter(data.train_loader(16, 0)))
    for compiled in (False, True):
        module = module_of(data, "n-fgsm", begun)
        step = whole_step(module, batch, MachineConfig(accelerator="cpu", compile=compiled))
        step()
        losses.append(float(module.train_loss.compute()))
        weights = module.network[5].weight.detach()
        assert (module.network._compiled_call_impl is not None) == compiled
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert (weights - begun[5].weight).abs().max() > 0.01
