"""Layers and networks whose operators are learned: state, conversion, calibration, penalty, optimisation."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from layer_cases import LAYERS, make, plain, sample
from torch import nn

import decoupled_nets as dn
from decoupled_nets.optim import operator_parameters

NAMES = ["power", "spline-spline", "spline-cos", "tanh-power"]


def moved(layer):
    """Its parameters somewhere else than at their start."""
    with torch.no_grad():
        for parameter in operator_parameters(layer):
            parameter.mul_(torch.linspace(0.8, 1.3, parameter.numel()).view_as(parameter))
    return layer


@pytest.mark.parametrize("operator", NAMES)
@pytest.mark.parametrize("name", LAYERS)
def test_state_goes_round(name, operator):
    layer, other = moved(make(name, operator=operator)), make(name, operator=operator)
    x = sample(name, 2)
    layer(x)
    assert not torch.equal(layer.eval()(x), other.eval()(x))
    assert other.load_state_dict(layer.state_dict()) == ([], [])
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(layer.eval()(x), twin.eval()(x))


@pytest.mark.parametrize("operator", NAMES)
def test_starts_anew_and_on_the_meta_device(operator):
    layer = make("conv2d", operator=operator)
    start = {key: value.clone() for key, value in layer.state_dict().items() if "parameters" in key}
    assert start
    moved(layer).reset_parameters()
    late = make("conv2d", operator=operator, device="meta").to_empty(device="cpu")
    late.load_state_dict(plain("conv2d").state_dict())
    for key, value in start.items():
        assert torch.equal(layer.state_dict()[key], value)
        assert torch.equal(late.state_dict()[key], value)


def test_what_a_layer_holds():
    groups = dn.DecoupledConv2d(4, 6, 3, operator=dn.Operator("spline", "power", channel_groups=3))
    assert groups.h_parameters.shape == (3, 16)
    assert groups.g_parameters.shape == (3, 1)
    assert groups.radius is None
    assert set(groups.state_dict()) == {
        "weight", "bias", "h_parameters", "g_parameters", "mean_norm", "num_updates"
    }  # fmt: skip
    fixed = dn.DecoupledConv2d(4, 6, 3, operator="power", radius=2.0)
    assert fixed.radius == 2.0
    assert "mean_norm" not in fixed.state_dict()
    assert "operator='power', radius=2.0" in repr(fixed)


def test_the_unit_is_the_mean_norm():
    """Inputs of any size give the same response, as with any relative radius."""
    layer = moved(dn.DecoupledConv2d(4, 6, 3, operator="spline-spline", bias=False, eps=1e-12))
    x = torch.randn(5, 4, 8, 8)
    torch.testing.assert_close(layer(x), layer(100 * x), rtol=1e-4, atol=1e-5)
    layer.eval()
    assert not torch.allclose(layer(x), layer(100 * x), rtol=1e-2)


def test_groups_of_channels_learn_their_own():
    layer = dn.DecoupledConv2d(4, 6, 3, operator=dn.Operator("spline", "power", channel_groups=2)).eval()
    x = torch.randn(2, 4, 6, 6)
    before = layer(x)
    with torch.no_grad():
        layer.h_parameters[1].mul_(2)
        layer.g_parameters[1].mul_(1.5)
    changed = (layer(x) - before).abs().amax((0, 2, 3))
    assert (changed[:3] == 0).all()
    assert (changed[3:] > 0.01).all()


def test_the_magnitude_of_every_channel():
    layer = moved(dn.DecoupledConv2d(4, 6, 3, operator=dn.Operator("spline", channel_groups=2), radius=3.0))
    norm = torch.linspace(0.1, 9, 7)[:, None]
    h = layer.h(norm)
    assert h.shape == (7, 6)
    for channel in range(6):
        own = layer.operator.h(norm[:, 0], 3.0, parameters=layer.h_parameters[channel // 3])
        torch.testing.assert_close(h[:, channel], own)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"operator": dn.Operator("power", channel_groups=4)},
            "channel_groups = 4 received; needed: a divisor",
        ),
        ({"operator": dn.Operator("power", channel_groups=3), "groups": 2}, "channel_groups = 3 received"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        dn.DecoupledConv2d(4, 6, 3, **options)


def test_a_learned_radius_is_ignored_aloud():
    with pytest.warns(UserWarning, match="radius = 'learned' is ignored: 'power' learns its own function"):
        layer = dn.DecoupledConv2d(4, 6, 3, operator="power", radius="learned")
    assert layer.options()["radius"] == dn.RelativeRadius()


def network():
    torch.manual_seed(0)
    conv = [nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
    return nn.Sequential(*conv, nn.Conv2d(8, 4, 3), nn.Flatten())


@pytest.mark.parametrize("operator", ["power@linear-cos", "spline-spline@linear-cos"])
def test_a_trained_network_goes_on_from_a_linear_start(operator):
    model = network().eval()
    batches = [torch.rand(8, 3, 9, 9) for _ in range(3)]
    wanted = model(batches[0])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    dn.convert(model, operator, select=dn.Select(outputs=True))
    found = dn.calibrate(model, batches)
    assert found.after.error < 1e-3
    torch.testing.assert_close(model(batches[0]), wanted, rtol=1e-3, atol=1e-3)
    other = network()
    dn.convert(other, operator, select=dn.Select(outputs=True))
    other.load_state_dict(model.state_dict())
    dn.revert(model)
    assert not list(operator_parameters(model))
    assert set(model.state_dict()) == set(before)
    assert torch.equal(model[0].weight, before["0.weight"])


def test_frozen_layers_stay_frozen_when_converted():
    model = network()
    model[0].requires_grad_(False)
    dn.convert(model, "power")
    assert not model[0].h_parameters.requires_grad
    assert model[3].h_parameters.requires_grad


def test_groups_of_channels_are_converted_where_they_fit():
    model = network()
    report = dn.convert(
        model, dn.Operator("spline", "spline", channel_groups=8), select=dn.Select(outputs=True)
    )
    assert model[0].h_parameters.shape == (8, 16)
    assert type(model[5]) is nn.Conv2d
    assert "its 4 channels in 1 groups do not fall into channel_groups = 8" in str(report)


def test_a_layer_from_before_there_was_anything_to_learn_computes():
    layer = dn.DecoupledConv2d(3, 4, 3)
    x = torch.rand(1, 3, 5, 5)
    for name in ("h_parameters", "g_parameters"):
        del layer._parameters[name]
    state = dict(layer.__dict__)
    again = dn.DecoupledConv2d.__new__(dn.DecoupledConv2d)
    again.__setstate__(state)
    assert again(x).isfinite().all()


def test_total_variation_is_what_the_slopes_change_by():
    slopes = torch.randn(2, 16)
    layer = dn.DecoupledConv2d(4, 6, 3, operator=dn.Operator("spline", channel_groups=2))
    other = dn.DecoupledLinear(4, 6, operator=dn.Operator("tanh", "spline"))
    with torch.no_grad():
        layer.h_parameters.copy_(slopes)
        other.g_parameters.copy_(torch.tensor([[1.0, 3, 5, 7]]))
    together = dn.total_variation(nn.Sequential(layer, other))
    alone = dn.total_variation(other)
    # E[g²] of a normal t is that of t itself: the slopes in force are those divided by the root of their own.
    turns = torch.linspace(-12, 12, 24001, dtype=torch.float64)
    density = torch.exp(-(turns**2) / 2) / (2 * torch.pi) ** 0.5
    size = turns.abs()
    g = size + 2 * (size - 1).clamp(min=0) + 2 * (size - 2).clamp(min=0) + 2 * (size - 3).clamp(min=0)
    assert alone.item() == pytest.approx(6 / torch.trapezoid(g**2 * density, turns).sqrt().item(), rel=1e-4)
    assert (together - alone).item() == pytest.approx(slopes.diff().abs().sum().item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(together, layer.h_parameters)
    assert gradient.abs().max() >= 1


def test_total_variation_of_nothing_is_refused():
    with pytest.raises(ValueError, match="without learned splines received; needed"):
        dn.total_variation(dn.DecoupledConv2d(4, 6, 3, operator="power"))


@pytest.mark.parametrize("operator", NAMES)
def test_what_is_learned_has_no_weight_decay(operator):
    layer = make("conv2d", operator=operator, weighting="linear")
    decayed, spared = dn.parameter_groups(layer, 0.1)
    assert [id(p) for p in decayed["params"]] == [id(layer.weight)]
    assert {id(p) for p in operator_parameters(layer)} < {id(p) for p in spared["params"]}


@pytest.mark.parametrize("operator", ["power@linear-cos", "spline-spline@linear-cos"])
def test_training_moves_a_function_towards_the_datas(operator):
    """Targets of tanh of the norm, cubed in the cosine: what is learned bends that way."""
    torch.manual_seed(1)
    weight = torch.randn(8, 8) / 8**0.5
    x = torch.randn(2048, 8) * torch.rand(2048, 1) * 2

    def layer_of(name):
        radius = {} if name == "linear-cos" else {"radius": 2.0}
        layer = dn.DecoupledLinear(8, 8, bias=False, operator=name, eps=1e-12, **radius)
        with torch.no_grad():
            layer.weight.copy_(weight)
        return layer

    unit = weight / weight.norm(dim=1, keepdim=True)
    cosine = x @ unit.T / x.norm(dim=1, keepdim=True)
    wanted = torch.tanh(x.norm(dim=1, keepdim=True) / 1.0) * cosine.sign() * cosine.square()
    learned, fixed = layer_of(operator), layer_of("linear-cos")
    scale = torch.ones((), requires_grad=True)
    optimizer = torch.optim.Adam([learned.h_parameters, learned.g_parameters, scale], 0.03)
    for _ in range(300):
        optimizer.zero_grad()
        (scale * learned(x) - wanted).square().mean().backward()
        optimizer.step()
    given = fixed(x)
    plain_error = (wanted - given * (given * wanted).sum() / given.square().sum()).square().mean()
    error = (scale * learned(x) - wanted).square().mean()
    assert error < 0.15 * plain_error
