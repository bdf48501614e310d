"""Options of schedules and update rules, by their effects."""

from __future__ import annotations

import math

import pytest
import torch
from proofs import proves
from small import network, trained
from torch import nn

import decoupled_nets as dn
from decoupled_nets.models import PixelNetwork
from decoupled_nets.training import OptimConfig
from decoupled_nets.training.optimizer import hidden_kernels, layer_scales, make_optimizer, make_schedule


def rates(steps: int, **options) -> list[float]:
    config = OptimConfig(**options)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr)
    schedule = make_schedule(optimizer, config, steps)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


@proves(OptimConfig, "milestones")
def test_milestones():
    found = rates(10, lr=1.0, schedule="step", warmup=0.0, milestones="0.2,0.5,0.9")
    assert found == pytest.approx([1.0] * 2 + [0.1] * 3 + [0.01] * 4 + [0.001])


@proves(OptimConfig, "final_lr", "schedule")
def test_where_the_learning_rate_ends():
    half = rates(101, lr=1.0, schedule="cosine", warmup=0.0, final_lr=0.2)
    assert half[-1] == pytest.approx(0.2, abs=1e-3)
    assert half[50] == pytest.approx(0.6, abs=0.02)
    for end in (0.0, 0.2):
        found = rates(10, lr=1.0, schedule="linear", warmup=0.0, final_lr=end)
        assert found == pytest.approx([1 - (1 - end) * step / 10 for step in range(10)])


@proves(OptimConfig, "momentum")
def test_momentum():
    def second(momentum: float) -> float:
        layer = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(layer.weight)
        optimizer = make_optimizer(layer, OptimConfig(optimizer="sgd", lr=1.0, momentum=momentum))
        for _ in range(2):
            layer.weight.grad = torch.ones(1, 1)
            optimizer.step()
        return float(layer.weight.detach())

    assert second(0.5) == pytest.approx(-2.5)
    assert second(0.0) == pytest.approx(-2.0)
    assert OptimConfig(momentum=0.5).ignored == ["optimizer=adam ignores momentum"]
    assert OptimConfig(momentum=0.5, optimizer="muon").ignored == []


@proves(OptimConfig, "optimizer")
def test_muon_is_for_hidden_kernels_and_spares_what_has_no_decay():
    net = nn.Sequential(
        dn.DecoupledConv2d(3, 8, 3), nn.Conv2d(8, 8, 3), dn.DecoupledConv2d(8, 8, 3), nn.BatchNorm2d(8),
        nn.Linear(8, 4),
    )  # fmt: skip
    assert hidden_kernels(net) == {id(net[1].weight), id(net[2].weight)}
    optimizer = make_optimizer(net, OptimConfig(optimizer="muon", lr=0.1, weight_decay=0.5))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    by_muon = {name for name, p in net.named_parameters() if optimizer.state[p]["use_muon"]}
    assert by_muon == {"1.weight", "2.weight"}
    # All singular values of an update alike: that is Muon. Scaled by 0.2 · sqrt(longer side), and no decay.
    update = (net[2].weight - before["2.weight"]).flatten(1).detach()
    sizes = torch.linalg.svdvals(update) / (0.1 * 0.2 * math.sqrt(72))
    assert ((sizes > 0.6) & (sizes < 1.4)).all()
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(net[1].weight), id(net[4].weight)}


@proves(OptimConfig, "optimizer")
def test_muon_leaves_what_operators_learn():
    """Their parameters have two axes, too; in a layer at the end they come behind the classifier's weight."""
    net = nn.Sequential(
        *(dn.DecoupledConv2d(a, 8, 3, operator="spline-spline") for a in (3, 8, 8)),
        dn.DecoupledLinear(8, 4, operator="spline-spline"),
    )
    assert net[3].g_parameters.dim() == 2
    assert hidden_kernels(net) == {id(net[1].weight), id(net[2].weight)}


@proves(OptimConfig, "optimizer")
def test_lamb_steps_in_proportion_to_the_weights():
    steps = []
    for size in (1.0, 10.0):
        layer = nn.Linear(4, 4, bias=False)
        nn.init.constant_(layer.weight, size)
        optimizer = make_optimizer(layer, OptimConfig(optimizer="lamb", lr=0.01, weight_decay=1e-3))
        layer.weight.grad = torch.ones(4, 4)
        optimizer.step()
        steps.append(float((size - layer.weight).norm().detach()))
    assert steps[1] == pytest.approx(10 * steps[0], rel=0.02)


@proves(OptimConfig, "layer_decay")
def test_layer_decay():
    net = PixelNetwork(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)), [0.5], [1.0])
    optimizer = make_optimizer(net, OptimConfig(optimizer="sgd", lr=1.0, layer_decay=0.5))
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rate[id(p)] for p in net.parameters()] == [0.25, 0.25, 0.5, 0.5, 1.0, 1.0]
    # timm's networks tell their layers.
    import timm

    scales = layer_scales(inner := timm.create_model("resnet10t", num_classes=2), 0.5)
    assert scales[id(inner.fc.weight)] == 1
    assert scales[id(inner.conv1[0].weight)] == min(scales.values()) < 0.5
    assert len(set(scales.values())) < len(list(inner.parameters())) / 3
    # Decoupled kernels have no decay here, either; all groups rise and fall in proportion.
    groups = make_optimizer(network(), OptimConfig(layer_decay=0.5, weight_decay=0.1)).param_groups
    assert sorted((group["weight_decay"], group["lr"]) for group in groups) == [
        (0.0, 0.0005), (0.0, 0.001), (0.1, 0.001),
    ]  # fmt: skip


def test_the_rate_that_is_shown_is_the_highest(tmp_path):
    options = {"schedule": "constant", "warmup": 0.0, "lr": 0.5, "layer_decay": 0.1}
    assert [e["lr"] for e in trained(tmp_path, **options).history] == [0.5]


@proves(OptimConfig, "layer_decay")
@pytest.mark.parametrize("operator", ["tanh-cos", "spline-power", "ddf"])
def test_a_converted_layer_is_one_layer(operator):
    """Whatever an operator learns or filters are generated by: layers before it are as far from the end."""
    net = nn.Sequential(*(nn.Conv2d(6, 6, 3, padding=1) for _ in range(3)), nn.Flatten(), nn.Linear(6, 2))
    dn.convert(net, operator, select=dn.Select(outputs=True))
    scales = layer_scales(net, 0.5)
    assert type(net[1]) is not nn.Conv2d
    assert [{scales[id(p)] for p in layer.parameters()} for layer in net if list(layer.parameters())] == [
        {0.125}, {0.25}, {0.5}, {1.0},
    ]  # fmt: skip
