"""Networks with upsamplers: saved ones keep theirs, and weights go into them as into the rest."""

from __future__ import annotations

import pytest
import torch
from foreign import drawn

import decoupled_nets as dn
from decoupled_nets.models.sources import Weights
from decoupled_nets.networks import Given, build, given_weights
from decoupled_nets.training import NetworkConfig

X = torch.rand(1, 3, 32, 32)


def unet(operator: str = "conv", given: Given | None = None, **options: object) -> torch.nn.Module:
    config = NetworkConfig(**{"model": "unet", "width": 0.125, **options})
    return build(config, operator, 3, 3, dense=True, given=given).eval()


def kinds(network: torch.nn.Module) -> set[str]:
    return {type(m[0]).__name__ for name, m in network.named_modules() if name.endswith("upsamplers")}


def saved(folder, operator: str = "conv", upsample: str = "ddf"):
    network = unet(operator, upsample=upsample)
    network.load_state_dict(drawn(network))
    dn.save_pretrained(network, folder)
    return network


@pytest.mark.parametrize("there", ["conv", "tanh-cos"])
@pytest.mark.parametrize("operator", ["conv", "tanh-cos"])
def test_a_saved_network_keeps_its_upsampling(tmp_path, there, operator):
    network = saved(tmp_path / "saved", there)
    config = NetworkConfig(model=str(tmp_path / "saved"))
    given = Given(given_weights(config))
    again = build(config, operator, 3, 3, dense=True, given=given).eval()
    assert kinds(again) == {"DDFBilinear"}  # as it replaces bilinear interpolation
    state, wanted = again.state_dict(), network.state_dict()
    parts = [name for name in wanted if "upsamplers." in name]
    assert parts
    assert all(torch.equal(state[name], wanted[name]) for name in parts)
    assert not any("upsamplers." in name for name in (*given.loaded.unexpected, *given.loaded.missing))
    if there == operator:
        assert torch.equal(again(X), network(X))


@pytest.mark.parametrize("operator", ["conv", "tanh-cos"])
@pytest.mark.parametrize("there", ["conv", "tanh-cos"])
def test_a_saved_networks_upsampling_gives_way_to_another(tmp_path, operator, there):
    saved(tmp_path / "saved", there)
    config = NetworkConfig(model=str(tmp_path / "saved"), upsample="carafe")
    given = Given(given_weights(config))
    again = build(config, operator, 3, 3, dense=True, given=given).eval()
    assert kinds(again) == {"CARAFE"}
    assert again(X).shape == (1, 3, 32, 32)
    assert len(given.upsampling.converted) == 3
    assert any("upsamplers." in name for name in given.loaded.unexpected)


@pytest.mark.parametrize("there", ["conv", "tanh-cos"])
@pytest.mark.parametrize("operator", ["conv", "tanh-cos"])
def test_upsamplers_are_loaded_with_the_rest(there, operator):
    state = drawn(unet(there, upsample="ddf"))
    wrapped = {f"network.{name}": value for name, value in state.items()}
    given = Given(Weights("w", wrapped, operator=there))
    network = unet(operator, given, upsample="ddf")
    own, parts = network.state_dict(), [name for name in state if "upsamplers." in name]
    assert all(torch.equal(own[name], state[name]) for name in parts)
    assert parts
    report = given.loaded
    assert not any("upsamplers." in name for name in (*report.unexpected, *report.missing))
    if there == operator:
        assert report.missing == report.unexpected == report.other_shape == ()
        assert report.loaded == len(state)
        assert report.parameters == report.of == sum(p.numel() for p in network.parameters())
        assert all(torch.equal(own[name], value) for name, value in state.items())


def test_upsamplers_that_do_not_fit_start_anew_and_are_named():
    torch.manual_seed(0)
    fresh = unet(upsample="carafe").state_dict()
    plain = unet().state_dict()
    state = drawn(unet(upsample="carafe"))
    name = next(name for name in state if "upsamplers." in name and state[name].dim() == 4)
    state[name] = torch.rand(1, 2, 3, 4)
    given = Given(Weights("w", state))
    torch.manual_seed(0)
    network = unet(given=given, upsample="carafe")
    assert [one for one, *_ in given.loaded.other_shape] == [name]
    assert torch.equal(network.state_dict()[name], fresh[name])
    assert given.loaded.loaded == len(state) - 1
    given = Given(Weights("w", drawn(unet())))
    unet(given=given, upsample="carafe")
    assert given.loaded.loaded == len(plain)  # weights that know nothing of upsamplers are all there
    assert given.loaded.unexpected == ()
