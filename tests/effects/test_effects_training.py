"""Options of the optimisation beyond update rule, schedule and loss, by their effects."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from proofs import proves
from small import module_of, network, trained
from torch import nn

import decoupled_nets as dn
from decoupled_nets.training import MachineConfig, OptimConfig, TrainConfig, load_checkpoint
from decoupled_nets.training.averaging import average_of


@proves(OptimConfig, "clip_norm")
@pytest.mark.parametrize("clip_norm", [0.0, 1e-3])
def test_clipping(clip_norm, tmp_path):
    net, norms = network(), []
    start = copy.deepcopy(net)
    trained(tmp_path, net, clip_norm=clip_norm, optimizer="sgd", lr=1.0, momentum=0.0, warmup=0.0,
            schedule="constant", batch_size=16)  # fmt: skip
    moved = [(a - b).flatten() for a, b in zip(net.parameters(), start.parameters(), strict=True)]
    norms = float(torch.cat(moved).detach().norm())
    assert norms == pytest.approx(1e-3, rel=1e-3) if clip_norm else norms > 1e-2


@proves(OptimConfig, "accumulate")
@pytest.mark.parametrize(("accumulate", "steps"), [(1, 4), (2, 2), (3, 2), (9, 1)])
def test_accumulation_makes_fewer_steps_and_the_schedule_counts_those(accumulate, steps, tmp_path):
    module = trained(tmp_path, accumulate=accumulate, schedule="linear", warmup=0.0, lr=1.0)
    checkpoint = load_checkpoint(tmp_path / "last.ckpt")
    assert checkpoint["global_step"] == steps
    assert module.history[-1]["lr"] == pytest.approx(0)  # it has come to its end
    assert checkpoint["lr_schedulers"][0]["last_epoch"] == steps


@proves(OptimConfig, "ema")
def test_the_average_is_what_is_judged_and_kept(tmp_path):
    start = network()
    raw, averaged = (
        trained(tmp_path / str(ema), copy.deepcopy(start), ema=ema, lr=0.05) for ema in (0.0, 0.5)
    )
    assert raw.history[0]["train_loss"] == averaged.history[0]["train_loss"]
    assert raw.history[0]["val_loss"] != averaged.history[0]["val_loss"]
    assert raw.tested["loss"] != averaged.tested["loss"]
    checkpoint = load_checkpoint(tmp_path / "0.5" / "last.ckpt")
    for name, value in raw.state_dict().items():
        assert torch.equal(checkpoint["current_model_state"][name], value)
    for name, value in averaged.state_dict().items():
        assert torch.equal(checkpoint["state_dict"][name], value)
        if value.is_floating_point() and value.numel() > 1:
            assert not torch.equal(value, raw.state_dict()[name]), name


@proves(OptimConfig, "ema")
def test_the_decay_begins_lower():
    model = nn.Linear(1, 1, bias=False)
    average = average_of(model, 0.5)
    found, expected = [], []
    for step, value in enumerate([1.0, 3.0, 5.0, 0.0] + [2.0] * 8):
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
        decay = min(0.5, (1 + step) / (10 + step))
        expected.append(decay * expected[-1] + (1 - decay) * value if step else value)
        found.append(float(average.module.weight.detach()))
    assert found == pytest.approx(expected)


@proves(OptimConfig, "drop_rate")
def test_dropout_before_the_classifier(batch):
    net = network()
    module = module_of(net, drop_rate=0.5)
    seen = []
    net[3].register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    zeros = []
    for training in (True, False):
        module.train(training)
        torch.manual_seed(0)
        module(batch[0])
        zeros.append(float((seen[-1] == 0).float().mean()))
    assert 0.2 < zeros[0] < 0.8
    assert zeros[1] == 0
    with pytest.raises(ValueError, match=r"drop_rate = 0\.5 received; needed: 0, as Conv2d has no linear"):
        module_of(nn.Conv2d(3, 4, 3), drop_rate=0.5)


@proves(OptimConfig, "drop_path")
@pytest.mark.parametrize("kind", ["resnet32", "ddf_cifar_resnet26", "timm", "torchvision"])
def test_stochastic_depth(kind):
    import timm
    import torchvision
    from timm.layers.drop import DropPath
    from torchvision.ops import StochasticDepth

    net = {
        "timm": lambda: timm.create_model("resnet10t", num_classes=4),
        "torchvision": lambda: torchvision.models.efficientnet_b0(num_classes=4),
    }.get(kind, lambda: dn.create_model(kind, 4, width=0.125))()
    module = module_of(net, drop_path=0.4)
    found = [
        (layer.drop_prob if isinstance(layer, DropPath) else layer.p)
        for layer in net.modules()
        if isinstance(layer, DropPath | StochasticDepth)
    ]
    assert found == sorted(found)
    assert found[-1] == 0.4
    assert found[0] == pytest.approx(0.4 / len(found))
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)  # some begin at zero, and the branch with them
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        module.eval()
        assert torch.equal(module(image), module(image))
        for layer in net.modules():
            layer.training = isinstance(layer, DropPath | StochasticDepth)
        assert len({tuple(module(image)[0].tolist()) for _ in range(20)}) > 1


def test_a_network_without_residual_branches_has_no_stochastic_depth():
    with pytest.raises(ValueError, match=r"drop_path = 0\.4 received; needed: 0, as cnn9 has no residual"):
        module_of(dn.create_model("cnn9", 4, width=0.05), drop_path=0.4)


@proves(MachineConfig, "channels_last")
def test_channels_last(tmp_path):
    layouts = []
    for channels_last in (False, True):
        net = network()
        net.register_forward_pre_hook(
            lambda module, args: layouts.append(args[0].is_contiguous(memory_format=torch.channels_last))
        )
        trained(
            tmp_path / str(channels_last), net, MachineConfig(accelerator="cpu", channels_last=channels_last)
        )
    assert set(layouts[: len(layouts) // 2]) == {False}
    assert set(layouts[len(layouts) // 2 :]) == {True}


@proves(MachineConfig, "compile")
def test_compile(tmp_path, monkeypatch):
    calls = []
    compiled = nn.Module.compile

    def eagerly(self, *args, **more):
        compiled(self, *args, backend=lambda graph, inputs: calls.append(graph) or graph.forward, **more)

    monkeypatch.setattr(nn.Module, "compile", eagerly)
    start = network()
    plain = trained(tmp_path / "plain", copy.deepcopy(start))
    assert calls == []
    made = trained(tmp_path / "made", start, MachineConfig(accelerator="cpu", compile=True))
    assert calls
    assert made.history[0]["val_loss"] == pytest.approx(plain.history[0]["val_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate = 0 received; needed: at least 1"),
        ({"momentum": 1.0}, r"momentum = 1\.0 received; needed: a number in \[0, 1\)"),
        ({"ema": 1.0}, r"ema = 1\.0 received; needed: a number in \[0, 1\)"),
        ({"drop_path": -0.1}, r"drop_path = -0\.1 received"),
        ({"drop_rate": 1.0}, r"drop_rate = 1\.0 received"),
        ({"layer_decay": 0.0}, r"layer_decay = 0\.0 received; needed: a number in \(0, 1\]"),
        ({"clip_norm": -1.0}, r"clip_norm = -1\.0 received; needed: at least 0"),
        ({"clip_norm": math.inf}, r"clip_norm = inf received"),
        ({"mixup": -1.0}, r"mixup = -1\.0 received; needed: at least 0"),
        ({"cutmix": math.nan}, r"cutmix = nan received"),
        ({"final_lr": 1.0}, r"final_lr = 1\.0 received; needed: a number from 0 to lr, 0\.001"),
        ({"milestones": "0.5,0.2"}, r"milestones = '0.5,0.2' received; needed: rising fractions"),
        ({"milestones": "0.5;0.6"}, r"milestones = '0.5;0.6' received; needed: numbers separated by commas"),
        ({"class_weights": "1,-1"}, r"class_weights = '1,-1' received; needed: numbers from 0, or balanced"),
        ({"class_weights": "balance"}, r"class_weights = 'balance' received; needed: numbers separated"),
        (
            {"schedule": "cosin"},
            "schedule = 'cosin' received; needed: one of cosine, linear, step, constant",
        ),
        ({"optimizer": "adma"}, "optimizer = 'adma' received; needed: one of adam, adamw, sgd, lamb, muon"),
        ({"sampling": "balance"}, "sampling = 'balance' received; needed: one of all, balanced"),
        ({"start": "cold"}, "start = 'cold' received; needed: one of calibrated, converted"),
        ({"weighting": "lin"}, "weighting = 'lin' received; needed: one of linear, product, separate"),
        ({"radius": "big"}, "radius = 'big' received; needed: a number or one of relative, learned"),
        ({"class_weights": "0,0"}, r"class_weights = '0,0' received"),
        (
            {"task": "segment", "mixup": 0.1},
            r"mixup = 0\.1 received for the task segment; needed: 0\.0, which",
        ),
        ({"task": "segment", "sampling": "balanced"}, "sampling = balanced received for the task segment"),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.of(**options)
