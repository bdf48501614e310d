"""State dicts: round trip, plain layers' dicts, and dicts that are incomplete."""

from __future__ import annotations

import pytest
import torch
from layer_cases import LAYERS, RADII, make, plain, sample
from torch import nn

import decoupled_nets as dn

LEARNED = dn.Operator("tanh", "sigmoid", k="learned")


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("radius", RADII, ids=str)
def test_round_trip(name, radius):
    layer, other = (make(name, operator=LEARNED, radius=radius) for _ in range(2))
    x = sample(name, 2)
    layer(x)
    with torch.no_grad():
        layer.kappa.fill_(0.4)
    assert other.load_state_dict(layer.state_dict()) == ([], [])
    for key, value in layer.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    assert torch.equal(layer.eval()(x), other.eval()(x))


@pytest.mark.parametrize(
    ("radius", "keys"),
    [
        ("relative", {"weight", "bias", "kappa", "radius", "mean_norm", "num_updates"}),
        ("learned", {"weight", "bias", "kappa", "radius"}),
        (2.0, {"weight", "bias", "kappa"}),
    ],
)
def test_keys(radius, keys):
    assert set(make("conv2d", operator=LEARNED, radius=radius).state_dict()) == keys


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("radius", RADII, ids=str)
def test_loads_a_plain_layers_dict(name, radius):
    layer, twin = make(name, operator=LEARNED, radius=radius), plain(name)
    layer(sample(name, 2))
    own = {key: value.clone() for key, value in layer.state_dict().items() if key not in ("weight", "bias")}
    assert layer.load_state_dict(twin.state_dict(), strict=True) == ([], [])
    assert torch.equal(layer.weight, twin.weight)
    assert torch.equal(layer.bias, twin.bias)
    for key, value in own.items():
        assert torch.equal(layer.state_dict()[key], value), key


def test_loads_a_plain_network_with_prefixes():
    def network(conv):
        return nn.Sequential(conv(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), conv(4, 4, 3)))

    decoupled, twin = network(dn.DecoupledConv2d), network(nn.Conv2d)
    assert decoupled.load_state_dict(twin.state_dict(), strict=True) == ([], [])


@pytest.mark.parametrize("missing", ["radius", "mean_norm", "num_updates", "kappa"])
def test_an_incomplete_operator_is_reported(missing):
    layer = make("conv2d", operator=LEARNED)
    state = layer.state_dict()
    del state[missing]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{missing}"'):
        layer.load_state_dict(state)
    assert layer.load_state_dict(state, strict=False).missing_keys == [missing]


@pytest.mark.parametrize("missing", ["weight", "bias"])
def test_a_plain_dict_that_is_incomplete_is_reported(missing):
    state = plain("conv2d").state_dict()
    del state[missing]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{missing}"'):
        make("conv2d").load_state_dict(state)


def test_another_operators_keys_are_reported():
    state = make("conv2d", operator=LEARNED).state_dict()
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"radius"'):
        make("conv2d", operator="sphere-cos").load_state_dict(state)


def test_a_second_layers_missing_keys_do_not_hide_behind_a_plain_first():
    network = nn.Sequential(make("conv2d"), make("conv2d"))
    state = network.state_dict()
    for key in ("0.radius", "0.mean_norm", "0.num_updates", "1.radius"):
        del state[key]
    assert network.load_state_dict(state, strict=False).missing_keys == ["1.radius"]


def test_wrong_shape_is_reported():
    state = make("conv2d").state_dict()
    state["radius"] = torch.ones(5)
    with pytest.raises(RuntimeError, match="size mismatch for radius"):
        make("conv2d").load_state_dict(state)


def test_saved_and_loaded_with_weights_only(tmp_path):
    layer = make("conv2d", operator=LEARNED)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    state = torch.load(tmp_path / "layer.pt", weights_only=True)
    assert make("conv2d", operator=LEARNED).load_state_dict(state) == ([], [])
