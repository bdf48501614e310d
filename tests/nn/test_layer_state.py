"""State dicts: round trip, plain layers' dicts, and dicts that are incomplete."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from layer_cases import LAYERS, RADII, make, plain, sample
from torch import nn

import decoupled_nets as dn
from decoupled_nets.ops.backend import use_backend

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


def shared_start(radius):
    """A plain layer's weights, and what a decoupled layer that was never on meta computes with them."""
    twin, layer = plain("conv2d"), make("conv2d", operator=LEARNED, radius=radius).eval()
    layer.load_state_dict(twin.state_dict())
    return twin.state_dict(), layer


def on_meta(radius):
    with torch.device("meta"):
        return nn.Sequential(make("conv2d", operator=LEARNED, radius=radius))


def under(prefix, state):
    return {f"{prefix}.{name}": value for name, value in state.items()}


@pytest.mark.parametrize("radius", RADII, ids=str)
def test_a_plain_dict_assigned_to_a_network_on_meta_starts_the_operator(radius):
    state, wanted = shared_start(radius)
    network = on_meta(radius)
    assert network.load_state_dict(under("0", state), strict=True, assign=True) == ([], [])
    assert isinstance(network[0].kappa, nn.Parameter)
    assert not any(tensor.is_meta for tensor in network.state_dict().values())
    x = sample("conv2d", 2)
    assert torch.equal(network.eval()(x), wanted(x))
    assert torch.equal(network.train()(x), wanted.train()(x))


@pytest.mark.parametrize("radius", RADII, ids=str)
def test_a_plain_dict_after_to_empty_starts_the_operator(radius, monkeypatch):
    state, wanted = shared_start(radius)
    network = on_meta(radius)
    rubbish = lambda x, **to: torch.full(x.shape, 7.0, dtype=torch.float64).to(x.dtype)  # noqa: E731
    monkeypatch.setattr(torch, "empty_like", rubbish)  # what the memory held
    network.to_empty(device="cpu")
    monkeypatch.undo()
    assert network[0].weight[0, 0, 0, 0] == 7
    assert network.load_state_dict(under("0", state), strict=True) == ([], [])
    x = sample("conv2d", 2)
    assert torch.equal(network.eval()(x), wanted(x))


def test_a_plain_dict_leaves_what_was_trained(monkeypatch):
    """Also when it is assigned: only what is on meta starts anew."""
    layer = make("conv2d", operator=LEARNED)
    layer(sample("conv2d", 2))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.load_state_dict(plain("conv2d").state_dict(), assign=True)
    for name in ("radius", "mean_norm", "num_updates", "kappa"):
        assert torch.equal(layer.state_dict()[name], before[name]), name


def test_what_a_decoupled_dict_lacks_is_named_on_meta_too():
    state = make("conv2d").state_dict()
    del state["mean_norm"]
    with torch.device("meta"):
        layer = make("conv2d")
    with pytest.raises(RuntimeError, match=r'Missing key.*"mean_norm"'):
        layer.load_state_dict(state, assign=True)


@pytest.mark.parametrize("part", ["weight", "bias", "radius", "mean_norm", "scale"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_part_left_on_meta_is_named(name, training, part):
    layer = make(name).train(training)
    layer.scale = torch.ones(6)
    value = getattr(layer, part)
    moved = value.detach().to("meta")
    setattr(layer, part, nn.Parameter(moved) if isinstance(value, nn.Parameter) else moved)
    for path in (nullcontext, partial(use_backend, "composed")):
        with path(), pytest.raises(ValueError, match=f"{part} on device meta received[,;] .*cpu"):
            layer(sample(name, 2))


@torch.no_grad()
def test_one_element_changed_by_its_data_counts_at_once(near):
    """Autograd does not see it; nothing computed from the weight is remembered."""
    layer, fresh = (dn.DecoupledConv2d(64, 128, 3, radius="learned").eval() for _ in range(2))
    x = torch.rand(1, 64, 5, 5)
    layer(x)
    layer.weight.data[17, 3, 1, 2] = 3.0
    fresh.load_state_dict(layer.state_dict())
    near(layer(x), fresh(x))


def test_moving_a_layer_or_loading_one_makes_no_weight():
    """A weight that is made for every use may move with it, as spectral_norm's does in training."""
    layer = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 8, 3))
    dn.convert(layer)
    assert layer.training
    vector = layer.parametrizations.weight[0]._u.clone()
    layer.to("cpu")
    layer.load_state_dict(layer.state_dict())
    assert torch.equal(layer.parametrizations.weight[0]._u, vector)
