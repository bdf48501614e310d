"""The step whose time is reported is the step that trains."""

import copy

import pytest
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets._progress import Progress
from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.tasks import find_task
from decoupled_nets.training import MachineConfig, OptimConfig, TaskModule, fit
from decoupled_nets.training.step import root_device, whole_step


@pytest.fixture(scope="module")
def data():
    return load_data(
        DataConfig(data="synthetic", train_size=16, val_size=8, test_size=8, image_size=16, workers=0)
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    layer = dn.DecoupledConv2d(3, 4, 3)
    return nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        ({}, "32-true"),
        ({"label_smoothing": 0.3}, "32-true"),
        ({"orthogonality": 0.5}, "32-true"),
        ({"weighted_gradients": True}, "32-true"),
        ({"project_every": 1}, "32-true"),
        ({"optimizer": "sgd", "weight_decay": 0.1}, "32-true"),
        ({}, "bf16-mixed"),
        ({}, "bf16-true"),
        ({"orthogonality": 0.5, "project_every": 1, "label_smoothing": 0.3}, "64-true"),
    ],
)
def test_it_changes_the_weights_as_the_trainer_does(data, tmp_path, options, precision):
    machine = MachineConfig(accelerator="cpu", precision=precision)
    config = OptimConfig(epochs=1, batch_size=16, schedule="constant", warmup=0.0, lr=0.05, **options)
    task, start = find_task("classify")(data.classes), network()

    def module() -> TaskModule:
        return TaskModule(copy.deepcopy(start), task, config, 1)

    with Progress(1, "", quiet=True) as progress:
        trained = fit(module(), data, machine, tmp_path, progress, "", keep_best=False)
    alone = module()
    whole_step(alone, next(iter(data.train_loader(16, machine.seed))), machine)()
    for name, value in trained.network.state_dict().items():
        assert torch.equal(value, alone.network.state_dict()[name]), name
    plain = TaskModule(copy.deepcopy(start), task, OptimConfig(warmup=0.0, schedule="constant", lr=0.05), 1)
    whole_step(plain, next(iter(data.train_loader(16, 0))))()
    differs = any(
        not torch.equal(value, plain.network.state_dict()[name].to(value))
        for name, value in alone.network.state_dict().items()
    )
    assert differs == bool(options or precision != "32-true")


def test_the_device_is_the_accelerators():
    assert root_device(MachineConfig(accelerator="cpu")) == torch.device("cpu")
