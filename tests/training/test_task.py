"""Schedules, optimizers and configurations."""

import pytest
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.compare import CompareConfig
from decoupled_nets.training import OptimConfig, TrainConfig, WeightProjection
from decoupled_nets.training.config import differences
from decoupled_nets.training.optimizer import make_optimizer, make_schedule


def rates(config: OptimConfig, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr)
    schedule = make_schedule(optimizer, config, steps)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_cosine_rises_then_falls_to_zero() -> None:
    found = rates(OptimConfig(lr=1.0, schedule="cosine", warmup=0.1), 100)
    assert found[0] == pytest.approx(1 / 11)
    assert max(found) == pytest.approx(1.0)
    assert found.index(max(found)) == 10
    assert found[55] == pytest.approx(0.5, abs=0.01)
    assert found[-1] < 1e-3


def test_step_divides_by_ten_twice() -> None:
    found = rates(OptimConfig(lr=1.0, schedule="step", warmup=0.0), 64)
    assert found[33] == 1.0
    assert found[34] == found[53] == pytest.approx(0.1)
    assert found[54] == found[63] == pytest.approx(0.01)


def test_constant() -> None:
    assert set(rates(OptimConfig(lr=0.5, schedule="constant", warmup=0.0), 10)) == {0.5}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimizers_take_the_groups(name: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), dn.DecoupledConv2d(4, 4, 3))
    optimizer = make_optimizer(net, OptimConfig(optimizer=name, weight_decay=0.1, lr=0.5))
    assert type(optimizer).__name__.lower() == name
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0]
    assert all(g["lr"] == 0.5 for g in optimizer.param_groups)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs = 0 received; needed: at least 1"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"lr": 0.0}, "lr = 0.0 received; needed: a positive number"),
        ({"weight_decay": -1.0}, "weight_decay = -1.0"),
        ({"label_smoothing": 1.0}, r"label_smoothing = 1.0 received; needed: a number in \[0, 1\)"),
        ({"project_every": -1}, "project_every = -1"),
        ({"train_size": 0}, "train_size = 0 received; needed: at least 1"),
    ],
)
def test_configuration_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig.of(**options)


def test_parts_and_differences() -> None:
    config = TrainConfig.of(lr=0.5, epochs=3)
    assert config.optim == OptimConfig(lr=0.5, epochs=3)
    assert TrainConfig.of(**config.flat()) == config
    assert differences(config, {"lr": 0.5, "epochs": 4}) == ["epochs: 3 now, 4 then"]


def test_a_pair_that_comes_back_from_yaml_as_a_list_is_the_same() -> None:
    config = TrainConfig.of(pixel_range=(0.0, 300.0))
    assert differences(config, {"pixel_range": [0.0, 300.0]}) == []
    assert differences(config, {"pixel_range": [0.0, 301.0]}) != []


def test_an_option_that_a_saved_run_lacks_had_its_default() -> None:
    """A folder from before there was the option does not answer for what it cannot have been."""
    config = TrainConfig.of(task="segment", upsample="ddf")
    before = {name: value for name, value in config.flat().items() if name not in ("upsample", "scale")}
    assert differences(config, before) == ["upsample: 'ddf' now, None then"]
    assert differences(config, before, ("upsample",)) == []
    assert differences(TrainConfig.of(task="segment"), before) == []


@pytest.mark.parametrize("task", ["classify", "segment", "detect", "depth"])
def test_what_a_task_fills_in_is_no_difference(task: str) -> None:
    for config in (TrainConfig.of(task=task), CompareConfig.of(task=task)):
        assert differences(config, {"task": task}) == []
    assert differences(CompareConfig.of(task=task, lr=0.5), {"task": task}) == ["lr: 0.5 now, 0.003 then"]
    assert differences(CompareConfig.of(task=task, margin=0.2), {"task": task})[0].startswith("margin: 0.2")


def test_projection_needs_a_positive_interval() -> None:
    with pytest.raises(ValueError, match="every = 0 received"):
        WeightProjection(0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("radius", 2.0), ("weighting", "linear"), ("project_every", 9), ("weighted_gradients", True),
        ("orthogonality", 0.1),
    ],
)  # fmt: skip
def test_what_only_decoupled_operators_have(name: str, value: object) -> None:
    assert TrainConfig.of(operator="conv", **{name: value}).ignored == [f"conv ignores {name}"]
    assert TrainConfig.of(operator="ball-cos", **{name: value}).ignored == []
    assert TrainConfig.of(operator="conv", lr=0.5).ignored == []
