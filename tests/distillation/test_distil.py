"""What learned operators came to: the nearest named ones where the data lies, and the exchange."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.distillation import observe
from decoupled_nets.distillation.fit import nearest_angle, nearest_magnitude

U = (torch.arange(200, dtype=torch.float64) + 0.5) * 0.05
#: As of patches about their mean, and of cosines.
NORMS = torch.exp(-((U - 1) ** 2) / 0.3)
TURNS = torch.exp(-(U**2) / 2)


def network(operator, **options):
    torch.manual_seed(0)
    return nn.Sequential(
        dn.DecoupledConv2d(3, 8, 3, operator=operator, **options), nn.BatchNorm2d(8), nn.ReLU(),
        dn.DecoupledConv2d(8, 8, 3, operator=operator, **options), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), dn.DecoupledLinear(8 * 16, 5, operator=operator, **options),
    )  # fmt: skip


def trained(operator, **options):
    """With running statistics, on images whose brightness varies much."""
    model = network(operator, **options)
    batches = [torch.rand(16, 3, 8, 8) * torch.rand(16, 1, 1, 1) for _ in range(4)]
    for _ in range(20):
        for batch in batches:
            model(batch)
    return model.eval(), batches


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("sphere", {}), ("linear", {}), ("log", {}), ("ball", {"radius": 1.1}), ("tanh", {"radius": 0.8}),
        ("mix", {"beta": 0.7}), ("seg", {"radius": 1.1, "beta": 0.31}),
    ],
)  # fmt: skip
def test_a_named_magnitude_is_found_with_its_constants(name, constants):
    unit = 7.0
    operator = dn.Operator(name, alpha=1.3, beta=constants.get("beta"))
    h = operator.h(U * unit, constants.get("radius", 1.0) * unit)
    best, *others = nearest_magnitude(U, h, NORMS, unit)
    assert best.name == name
    assert best.explained > 0.9999 or name == "sphere"  # a constant has no variance to explain
    assert best.alpha == pytest.approx(1.3, rel=0.01)
    for key, value in constants.items():
        assert getattr(best, key) == pytest.approx(value, rel=0.02), key
    assert all(one.explained <= best.explained + 1e-3 for one in others)


def test_the_data_decides_which_is_nearest():
    """tanh is a line below its radius, and a constant far beyond."""
    h = torch.tanh(U)
    for centre, name in ((0.15, "linear"), (1.0, "tanh")):
        weights = torch.exp(-(((U - centre) / (0.1 if name == "linear" else 0.8)) ** 2))
        assert nearest_magnitude(U, h, weights, 1.0, ["sphere", "linear", "tanh"])[0].name == name


@pytest.mark.parametrize(("name", "fan_in"), [("cos", 144), ("sqcos", 144), ("linear", 9)])
def test_a_named_angle_is_found(name, fan_in):
    g = 1.7 * dn.Operator("tanh", name).g((U / fan_in**0.5).clamp(max=1))
    best = nearest_angle(U, g, TURNS * (fan_in**0.5 >= U), fan_in)[0]
    # Of small cosines the linear angle is the cosine.
    assert (best.name, best.alpha) == (name, pytest.approx(1.7, rel=1e-6))
    assert best.explained > 0.9999


def test_linear_and_sigmoid_are_called_the_cosine_where_they_are():
    for name in ("linear", "sigmoid"):
        g = dn.Operator("tanh", name).g((U / 30).clamp(max=1))
        assert nearest_angle(U, g, TURNS, 900)[0].name == "cos"


def test_densities_are_those_of_the_data():
    model, batches = trained("spline-spline")
    found = observe(model, batches)
    assert list(found) == ["0", "3", "7"]
    own, layer = found["0"], model[0]
    x = torch.cat(batches).double()
    patches = nn.functional.unfold(x, 3)
    norm = (patches.square().sum(1) + layer.eps).sqrt()
    size = norm / layer.mean_norm.double()
    assert own.size.sum() == norm.numel()
    mean = (own.size[0] * own.centres).sum() / own.size.sum()
    assert mean.item() == pytest.approx(size.mean().item(), abs=0.01)
    kernels = layer.weight.double().flatten(1)
    turn = torch.einsum("ok,bks->bos", kernels / kernels.norm(dim=1, keepdim=True), patches) / norm[:, None]
    turn = turn.abs() * math.sqrt(27)
    assert own.turn.sum() == turn.numel()
    mean = (own.turn[0] * own.centres).sum() / own.turn.sum()
    assert mean.item() == pytest.approx(turn.mean().item(), abs=0.01)
    assert own.fan_in == 27


@pytest.mark.parametrize(
    ("operator", "most"),
    # Where the data of a layer lies within the radius, ball is called linear, which is simpler.
    [("spline-cos@ball-cos", 2e-2), ("spline-cos@linear-cos", 1e-4), ("power@linear-cos", 1e-4)],
)
def test_an_exchange_of_what_is_exactly_a_named_operator_changes_nothing(operator, most):
    model, batches = trained(operator)
    before = model(batches[0])
    report = dn.distil(model, batches, exchange=True)
    assert report.exchanged
    assert all(layer.explained > 0.9999 for layer in report.layers)
    assert all(model[k].operator.learned == (None, None) for k in (0, 3, 7))
    torch.testing.assert_close(model(batches[0]), before, rtol=most, atol=most)


def test_an_exchange_keeps_the_spread_of_the_responses_and_can_be_undone():
    model, batches = trained(dn.Operator("spline", "power", start="seg-sqcos"))
    with torch.no_grad():
        for k in (0, 3, 7):
            model[k].h_parameters.mul_(1 + 0.3 * torch.rand(16))
    before, state = model(batches[0]), {key: value.clone() for key, value in model.state_dict().items()}
    report = dn.distil(model, batches, exchange=True)
    after = model(batches[0])
    assert 1e-4 < (after - before).norm() / before.norm() < 0.2
    assert after.std().item() == pytest.approx(before.std().item(), rel=0.1)
    report.undo()
    assert torch.equal(model(batches[0]), before)
    assert list(model.state_dict()) == list(state)
    assert not report.exchanged
    with pytest.raises(ValueError, match="nothing was exchanged"):
        report.undo()


def test_a_half_that_is_not_learned_stays_as_it_is():
    model, batches = trained("tanh-power@tanh-sqcos", radius="learned")
    with torch.no_grad():
        model[0].radius.copy_(torch.linspace(0.8, 1.6, 8))
    radii = model[0].radius.clone()
    report = dn.distil(model, batches, exchange=True)
    assert {layer.operator for layer in report.layers} == {"tanh-sqcos"}
    assert torch.equal(model[0].radius, radii)


def test_groups_of_channels_are_told_one_by_one_and_not_exchanged():
    model, batches = trained("spline-cos@ball-cos")
    layer = dn.DecoupledConv2d(3, 8, 3, operator=dn.Operator("spline", channel_groups=2, start="ball-cos"))
    with torch.no_grad():
        layer.h_parameters[1] = 1.0
        layer.mean_norm.fill_(float(model[0].mean_norm))
    model[0] = layer.eval()
    report = dn.distil(model, batches)
    assert [(row.name, row.row, row.operator) for row in report.layers[:2]] == [
        ("0", 0, "ball-cos"), ("0", 1, "linear-cos")
    ]  # fmt: skip
    assert "0, group 1: linear explains" in str(report)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="2 groups of channels received; needed: one function"):
        dn.distil(model, batches, exchange=True)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_it_says_what_most_layers_came_to():
    model, batches = trained("spline-cos@linear-cos")
    report = dn.distil(model, batches)
    assert report.operator == "linear-cos"
    assert str(report).endswith("3 of 3 are nearest to linear-cos")
    assert "0: linear explains 100.00 %; of the response 100.00 %" in str(report)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dn.distil(nn.Linear(2, 2), [torch.rand(1, 2)]), "without learned operators received"),
        (lambda: dn.distil(network("tanh-cos"), [torch.rand(1, 3, 8, 8)]), "without learned operators"),
        (lambda: dn.distil(network("power"), []), "no batches received"),
        (lambda: observe(nn.Linear(2, 2), [torch.rand(1, 2)]), "without decoupled layers received"),
    ],
)
def test_what_does_not_fit_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_modes_and_hooks_are_as_before():
    model, batches = trained("power")
    model.train()
    model[1].eval()
    dn.distil(model, batches)
    assert model.training
    assert not model[1].training
    assert "_respond" not in model[0].__dict__


def test_a_converted_network_that_was_exchanged_is_saved_and_loaded(tmp_path):
    model = timm.create_model("resnet10t", num_classes=4).eval()
    dn.convert(model, "spline-cos@linear-cos")
    batches = [torch.rand(4, 3, 32, 32)]
    dn.distil(model, batches, exchange=True)
    dn.save_pretrained(model, tmp_path)
    loaded = dn.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(loaded(batches[0]), model(batches[0]))


def test_norms_beyond_what_is_looked_at_are_mentioned():
    model, batches = trained("spline-cos@linear-cos")
    assert "beyond" not in str(dn.distil(model, batches))
    model[0].mean_norm.fill_(0.01)
    assert "0: " in (said := str(dn.distil(model, batches)).splitlines()[0])
    assert said.endswith("of its norms lie beyond ten mean norms)")
