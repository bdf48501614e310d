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
        ({"clip_norm": 0.01, "optimizer": "sgd"}, "32-true"),
        ({"mixup": 0.4}, "32-true"),
        ({"cutmix": 1.0}, "32-true"),
        ({"mixup": 0.4, "cutmix": 1.0, "clip_norm": 0.1, "optimizer": "lamb"}, "bf16-mixed"),
        ({"class_weights": "1,2,3,0"}, "32-true"),
        ({"optimizer": "lamb"}, "32-true"),
        ({"optimizer": "muon", "momentum": 0.5}, "32-true"),
        ({"layer_decay": 0.5}, "32-true"),
    ],
)
def test_it_changes_the_weights_as_the_trainer_does(data, tmp_path, options, precision):
    machine = MachineConfig(accelerator="cpu", precision=precision, seed=3)
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
    whole_step(plain, next(iter(data.train_loader(16, machine.seed))))()
    differs = any(
        not torch.equal(value, plain.network.state_dict()[name].to(value))
        for name, value in alone.network.state_dict().items()
    )
    assert differs == bool(options or precision != "32-true")


def small(config, data, start) -> TaskModule:
    return TaskModule(copy.deepcopy(start), find_task("classify")(data.classes), config, 2 * config.epochs)


def states(module: TaskModule) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.network.state_dict().items()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_an_accumulated_step_is_that_of_all_its_batches(data, tmp_path, monkeypatch):
    """Two batches a step: as the trainer does it, and as one batch of all images does it."""
    options = {"epochs": 1, "schedule": "constant", "warmup": 0.0, "lr": 0.05, "optimizer": "sgd"}
    config, start = OptimConfig(**options, batch_size=8, accumulate=2), network()
    batch = next(iter(data.train_loader(8, 0)))
    monkeypatch.setattr(type(data), "train_loader", lambda self, *args, **more: Twice(batch))
    with Progress(2, "", quiet=True) as progress:
        trained = fit(
            small(config, data, start), data, MachineConfig(accelerator="cpu"), tmp_path, progress, "",
            keep_best=False,
        )  # fmt: skip
    alone, single = small(config, data, start), small(OptimConfig(**options), data, start)
    whole_step(alone, batch)()
    whole_step(single, batch)()
    assert same(states(trained), states(alone))
    # Statistics have moved twice, weights once.
    torch.testing.assert_close(
        dict(alone.network.named_parameters()), dict(single.network.named_parameters())
    )


class Twice(list):
    """A loader that gives one batch twice."""

    def __init__(self, batch) -> None:
        super().__init__([batch, batch])
        self.batch_size = 8

    def set_epoch(self, epoch: int) -> None:
        pass


def test_the_average_is_part_of_the_step(data, monkeypatch):
    from decoupled_nets.training import step as steps

    made = []
    make = steps.average_of
    monkeypatch.setattr(steps, "average_of", lambda *args: made.append(make(*args)) or made[-1])
    module = small(OptimConfig(ema=0.5, lr=0.1), data, network())
    step = whole_step(module, next(iter(data.train_loader(16, 0))))
    step()
    first = states(module)
    step()
    (average,) = made
    expected = {name: (9 * now + 2 * first[name]) / 11 for name, now in states(module).items()}
    expected["0.num_updates"] = states(module)["0.num_updates"]
    torch.testing.assert_close(dict(average.module.network.state_dict()), expected)
    assert not same(first, states(module))


@pytest.mark.parametrize("option", ["channels_last", "compile"])
def test_layout_and_compilation_are_part_of_the_step(data, option):
    module = small(OptimConfig(), data, network())
    whole_step(
        module, next(iter(data.train_loader(4, 0))), MachineConfig(accelerator="cpu", **{option: True})
    )
    kernel = module.network[0].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last) == (option == "channels_last")
    assert (module.network._compiled_call_impl is not None) == (option == "compile")


def test_weights_that_balance_the_classes_need_data(data):
    batch = next(iter(data.train_loader(16, 0)))
    with pytest.raises(ValueError, match="'balanced' received without data; needed: images to count"):
        whole_step(small(OptimConfig(class_weights="balanced"), data, network()), batch)
    whole_step(small(OptimConfig(class_weights="balanced"), data, network()), batch, data=data)()


def test_the_device_is_the_accelerators():
    assert root_device(MachineConfig(accelerator="cpu")) == torch.device("cpu")
