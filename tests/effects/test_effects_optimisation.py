"""Every option of the optimisation, by its effect."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from proofs import proves
from small import images, module_of, network, trained
from torch import nn

import decoupled_nets as dn
from decoupled_nets.training import OptimConfig, TrainConfig, load_checkpoint
from decoupled_nets.training.optimizer import make_optimizer, make_schedule, shown_rate


@proves(OptimConfig, "epochs")
@pytest.mark.parametrize("epochs", [1, 2])
def test_epochs(epochs, tmp_path):
    assert [e["epoch"] for e in trained(tmp_path, epochs=epochs).history] == [1, 2][:epochs]


@proves(OptimConfig, "batch_size")
@pytest.mark.parametrize(("batch_size", "steps"), [(4, 4), (8, 2)])
def test_batch_size(batch_size, steps, tmp_path):
    seen = []
    net = network()
    net.register_forward_pre_hook(lambda module, args: seen.append((len(args[0]), module.training)))
    trained(tmp_path, net, batch_size=batch_size)
    assert [size for size, training in seen if training] == [batch_size] * steps
    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == steps


def weights(gradients: list[float], **options) -> list[float]:
    """A decayed weight of 1, after each of some steps with these gradients."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    optimizer = make_optimizer(layer, OptimConfig(**options))
    found = []
    for gradient in gradients:
        layer.weight.grad = torch.tensor([[gradient]])
        optimizer.step()
        found.append(float(layer.weight.detach()))
    return found


@proves(OptimConfig, "optimizer", "lr", "weight_decay")
def test_optimizer_learning_rate_and_weight_decay():
    # Stochastic gradient descent with a momentum of 0.9.
    assert weights([0.5, 0.5], optimizer="sgd", lr=0.1) == pytest.approx(
        [0.95, 0.95 - 0.1 * (0.9 * 0.5 + 0.5)]
    )
    assert weights([0.0], optimizer="sgd", lr=0.1, weight_decay=0.2) == pytest.approx([1 - 0.1 * 0.2])
    # Adam's first step is the sign of the gradient; decay enters the gradient, and is lost in the sign ...
    assert weights([0.5], optimizer="adam", lr=0.1) == pytest.approx([0.9])
    assert weights([0.5], optimizer="adam", lr=0.1, weight_decay=0.2) == pytest.approx([0.9])
    # ... or, in AdamW, the weight itself.
    assert weights([0.5], optimizer="adamw", lr=0.1, weight_decay=0.2) == pytest.approx([0.98 - 0.1])


@proves(OptimConfig, "schedule", "warmup")
@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_schedule_and_warmup(schedule, warmup):
    steps = 64
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    made = make_schedule(optimizer, OptimConfig(lr=0.5, schedule=schedule, warmup=warmup), steps)
    rising = int(warmup * steps)
    rest = steps - rising
    for step in range(steps):
        if step < rising:
            expected = (step + 1) / (rising + 1)
        else:
            done = step - rising
            expected = {
                "cosine": (1 + math.cos(math.pi * done / rest)) / 2,
                "step": 0.1 ** sum(done >= round(at * rest) for at in (34 / 64, 54 / 64)),
                "constant": 1.0,
            }[schedule]
        assert made.get_last_lr()[0] == pytest.approx(0.5 * expected), step
        optimizer.step()
        made.step()


def test_the_schedule_goes_by_steps_and_over_the_whole_training():
    module = module_of(steps=40, schedule="constant", warmup=0.1, lr=0.5)
    found = module.configure_optimizers()
    assert found["lr_scheduler"]["interval"] == "step"
    assert found["optimizer"].param_groups[0]["lr"] == pytest.approx(0.5 / 5)


def loss_of(net: nn.Module, batch, **options) -> torch.Tensor:
    module = module_of(net, **options)
    module.log = lambda *args, **more: None
    return module.training_step(batch, 0)


@pytest.fixture
def batch():
    return next(iter(images().train_loader(8, 0)))


@proves(OptimConfig, "label_smoothing")
def test_label_smoothing_changes_the_loss_by_the_formula(batch):
    net = network().eval()
    batch = (batch[0][:3], batch[1][:3])  # of all classes alike the mean would be the same
    with torch.no_grad():
        net[3].bias.copy_(torch.arange(4.0))
        chances = F.log_softmax(net(batch[0]), 1)
        plain = -chances.gather(1, batch[1][:, None]).mean()
        smooth = 0.7 * plain - 0.3 * chances.mean()
        assert abs(smooth - plain) > 1e-3
        assert loss_of(net, batch) == pytest.approx(float(plain))
        assert loss_of(net, batch, label_smoothing=0.3) == pytest.approx(float(smooth))


@proves(OptimConfig, "orthogonality")
def test_orthogonality_adds_its_penalty(batch):
    net = network(eps=1e-12).eval()
    with torch.no_grad():
        rows = F.normalize(net[0].weight.flatten(1))
        penalty = (rows @ rows.T - torch.eye(4)).square().sum() / 2
        assert penalty > 1e-3
        more = loss_of(net, batch, orthogonality=0.5) - loss_of(net, batch)
        assert more == pytest.approx(0.5 * float(penalty), rel=1e-4)


def test_the_training_loss_that_is_reported_is_the_mean_over_images_without_the_penalty(batch):
    module = module_of(network().eval(), orthogonality=1.0)
    module.log = lambda *args, **more: None
    parts = [(batch[0][:2], batch[1][:2]), (batch[0][2:], batch[1][2:])]
    with torch.no_grad():
        for part in parts:
            module.training_step(part, 0)
        expected = F.cross_entropy(module.network(batch[0]), batch[1])
    assert module.mean_train_loss() == pytest.approx(float(expected))


@proves(OptimConfig, "total_variation")
def test_total_variation_adds_its_penalty(batch):
    net = network(operator="spline-cos").eval()
    with torch.no_grad():
        bends = float(net[0].h_parameters.diff().abs().sum())
        assert bends > 0.1
        more = loss_of(net, batch, total_variation=0.5) - loss_of(net, batch)
        assert more == pytest.approx(0.5 * bends, rel=1e-4)
        named = network().eval()
        assert loss_of(named, batch, total_variation=0.5) == loss_of(named, batch)


@proves(OptimConfig, "operator_lr")
def test_what_operators_learn_has_a_learning_rate_of_its_own():
    net = network(operator="spline-power")
    own = {id(p) for p in (net[0].h_parameters, net[0].g_parameters)}
    optimizer = make_optimizer(net, OptimConfig(lr=0.01, operator_lr=3.0, weight_decay=0.1))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rates[key] for key in own] == [pytest.approx(0.03)] * 2
    assert {rate for key, rate in rates.items() if key not in own} == {0.01}
    assert shown_rate(optimizer) == pytest.approx(0.01)
    assert all(group["lr"] == 0.01 for group in make_optimizer(net, OptimConfig(lr=0.01)).param_groups)


@pytest.mark.parametrize(
    ("operator", "options", "said"),
    [
        ("tanh-cos", {"total_variation": 1e-4, "operator_lr": 3.0}, ["tanh-cos ignores total_variation"]),
        ("sphere-cos", {"operator_lr": 3.0}, ["sphere-cos ignores operator_lr"]),
        ("spline-cos", {"total_variation": 1e-4, "operator_lr": 3.0}, []),
    ],
)
def test_what_an_operator_has_nothing_for_is_said(operator, options, said):
    assert TrainConfig.of(operator=operator, **options).ignored == said


@proves(OptimConfig, "project_every")
@pytest.mark.parametrize("every", [0, 2, 3, 100])
def test_projection_every_so_many_steps(every, tmp_path):
    net = network()
    norms = []
    with torch.no_grad():
        net[0].weight.mul_(5)
    net.register_forward_pre_hook(
        lambda module, args: (
            norms.append(module[0].weight.detach().flatten(1).norm(dim=1)) if module.training else None
        )
    )
    trained(tmp_path, net, project_every=every, lr=1e-4)
    norms.append(net[0].weight.detach().flatten(1).norm(dim=1))  # of four steps, the first before any
    ones = [bool(torch.allclose(norm, torch.ones(4), atol=1e-2)) for norm in norms]
    first = {0: 5, 2: 2, 3: 3, 100: 5}[every]
    assert ones == [step >= first for step in range(5)]


@proves(OptimConfig, "weighted_gradients")
def test_weighted_gradients_are_multiplied_by_the_norm_of_the_kernel(batch):
    plain = network()
    weighted = copy.deepcopy(plain)
    loss_of(plain, batch).backward()
    loss_of(weighted, batch, weighted_gradients=True).backward()
    norm = plain[0].weight.detach().flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(weighted[0].weight.grad, plain[0].weight.grad * norm, rtol=1e-3, atol=1e-6)
    assert (norm - 1).abs().max() > 0.05
    torch.testing.assert_close(weighted[3].weight.grad, plain[3].weight.grad)


def test_the_history_tells_training_from_validation(tmp_path):
    """The loss of an epoch's training is that of the batches as trained on; of its end, the validation's."""
    net = network()
    module = trained(tmp_path, net, schedule="constant", warmup=0.0, lr=1e-9)
    (epoch,) = module.history
    pairs = {
        "val": list(images().val_loader(8)),
        "train": list(images().train_loader(4, 0)),
    }
    for name, batches in pairs.items():
        with torch.no_grad():
            net.train(name == "train")
            losses = [F.cross_entropy(net(x), y, reduction="sum") for x, y in batches]
        expected = float(sum(losses)) / sum(len(y) for _, y in batches)
        assert epoch[f"{name}_loss"] == pytest.approx(expected, rel=0.02), name
    assert epoch["val_images"] == 8
    assert module.tested["images"] == 8
    assert isinstance(net[0], dn.DecoupledConv2d)
