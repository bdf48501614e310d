"""Options of the optimisation beyond update rule and schedule, by their effects."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from proofs import proves
from small import classify, images, module_of, network, trained
from test_effects_optimisation import loss_of
from torch import nn

import decoupled_nets as dn
from decoupled_nets.models import PixelNetwork
from decoupled_nets.training import MachineConfig, OptimConfig, TrainConfig, load_checkpoint
from decoupled_nets.training.averaging import average_of
from decoupled_nets.training.class_weights import class_weights
from decoupled_nets.training.mixing import Mixing
from decoupled_nets.training.optimizer import hidden_kernels, layer_scales, make_optimizer, make_schedule

CPU = MachineConfig(accelerator="cpu")


@pytest.fixture
def batch():
    return next(iter(images().train_loader(8, 0)))


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


@proves(OptimConfig, "mixup")
def test_mixup_mixes_images_and_labels_alike(batch):
    mix, (pixels, labels) = Mixing(OptimConfig(mixup=1.0), 4), batch
    mixed, shares = mix(pixels, labels, 0, 0, 0)
    share = shares.gather(1, labels[:, None])
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    lam = share.min()
    assert 0 < lam < 1
    torch.testing.assert_close(mixed, lam * pixels + (1 - lam) * pixels.roll(1, 0))
    expected = lam * F.one_hot(labels, 4) + (1 - lam) * F.one_hot(labels.roll(1, 0), 4)
    torch.testing.assert_close(shares, expected)
    assert torch.equal(mix(pixels, labels, 0, 0, 0)[0], mixed)
    assert not any(
        torch.equal(mix(pixels, labels, *key)[0], mixed) for key in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    )


@proves(OptimConfig, "cutmix")
def test_cutmix_puts_a_part_of_one_image_into_another(batch):
    pixels, labels = batch
    mixed, shares = Mixing(OptimConfig(cutmix=1.0), 4)(pixels, labels, 0, 0, 1)
    other = pixels.roll(1, 0)
    assert ((mixed == pixels) | (mixed == other)).all()
    changed = (mixed != pixels).any(1).any(0)  # of any image: the rectangle
    assert 0 < changed.float().mean() < 1
    rectangle = changed.any(1).sum() * changed.any(0).sum() / 256
    assert float(shares[labels != labels.roll(1, 0)].max(1).values.max()) == pytest.approx(
        max(float(rectangle), 1 - float(rectangle)), abs=1e-6
    )


@proves(OptimConfig, "mixup", "cutmix")
def test_one_of_both_is_drawn_for_each_batch(batch):
    mix, (pixels, labels) = Mixing(OptimConfig(mixup=1.0, cutmix=1.0), 4), batch
    state = torch.get_rng_state()
    ways = []
    for number in range(20):
        mixed, _ = mix(pixels, labels, 0, 0, number)
        ways.append(bool(((mixed == pixels) | (mixed == pixels.roll(1, 0))).all()))
    assert 0 < sum(ways) < 20
    assert torch.equal(torch.get_rng_state(), state)


def test_the_loss_takes_mixed_labels_in_training_alone(batch, tmp_path):
    net = network().eval()
    module = module_of(net, mixup=1.0)
    module.log = lambda *args, **more: None
    pixels, shares = module._mix(*batch, 0, 0, 0)
    with torch.no_grad():
        expected = -(net(pixels).log_softmax(1) * shares).sum(1).mean()
        assert float(module.training_step(batch, 0)) == pytest.approx(float(expected))
    start = network()
    history = trained(tmp_path, copy.deepcopy(start), mixup=1.0, lr=1e-9).history
    plain = trained(tmp_path / "plain", start, lr=1e-9).history
    assert history[0]["val_loss"] == pytest.approx(plain[0]["val_loss"], rel=1e-5)
    assert history[0]["train_loss"] != pytest.approx(plain[0]["train_loss"], rel=1e-5)


@proves(OptimConfig, "class_weights")
def test_class_weights(batch):
    net, (pixels, labels) = network().eval(), batch
    module = module_of(net, class_weights="1,0,0,3")
    module.log = lambda *args, **more: None
    module.settle(CPU, None)
    weights = torch.tensor([1.0, 0.0, 0.0, 3.0])[labels]
    each = F.cross_entropy(net(pixels), labels, reduction="none")
    with torch.no_grad():
        expected = (each * weights).sum() / weights.sum()
        assert float(module.training_step(batch, 0)) == pytest.approx(float(expected))
        assert float(expected) != pytest.approx(float(loss_of(net, batch)))
    assert "_class_weights" not in module.state_dict()
    with pytest.raises(ValueError, match="class_weights has 3 numbers for 4 classes; needed: 4, or balanced"):
        class_weights(classify(), OptimConfig(class_weights="1,2,3"), None)


@proves(OptimConfig, "class_weights")
def test_weights_that_balance(monkeypatch):
    monkeypatch.setattr(type(classify()), "class_counts", lambda self, data: torch.tensor([1, 0, 3, 4]))
    found = class_weights(classify(), OptimConfig(class_weights="balanced"), images())
    torch.testing.assert_close(found, torch.tensor([8 / 3, 0.0, 8 / 9, 2 / 3]))
    assert float((found * torch.tensor([1, 0, 3, 4])).sum() / 8) == pytest.approx(1)


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
