"""Weights: what is read, what fits, what is said of it, and where pretrained ones come from."""

from __future__ import annotations

import argparse
import json
import re

import pytest
import timm
import torch
import torchvision
from foreign import TIMM, drawn, in_hub_cache
from safetensors.torch import save_file
from torch import nn

import decoupled_nets as dn
from decoupled_nets._downloads import no_downloads
from decoupled_nets.models.sources import Weights, source_named
from decoupled_nets.networks import Given, build, fetch, given_weights
from decoupled_nets.networks.given import read_weights
from decoupled_nets.networks.loading import match
from decoupled_nets.training import NetworkConfig


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))


def loaded(path, network=None):
    network = network or small()
    report = match(network, read_weights(path)).put(network)
    return network, report


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "network.", "_orig_mod.", "module._orig_mod.model."]
)
@pytest.mark.parametrize("key", ["", "state_dict", "model", "model_ema"])
def test_wrappers_are_seen_through(prefix, key, tmp_path):
    state = drawn(small())
    named = {prefix + name: value for name, value in state.items()}
    torch.save({key: named, "epoch": 3} if key else named, tmp_path / "weights.pth")
    network, report = loaded(tmp_path / "weights.pth")
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert (report.missing, report.unexpected, report.other_shape) == ((), (), ())
    assert report.parameters == report.of == sum(p.numel() for p in network.parameters())


def test_a_networks_own_name_is_no_prefix(tmp_path):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = small()

    state = drawn(Wrapped())
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "weights.pth")
    network, _ = loaded(tmp_path / "weights.pth", Wrapped())
    assert torch.equal(network.model[0].weight, state["model.0.weight"])


def test_averaged_weights_go_first_and_are_named(tmp_path):
    plain, averaged = drawn(small(), 1), drawn(small(), 2)
    torch.save(
        {"state_dict": plain, "state_dict_ema": averaged, "args": argparse.Namespace(lr=1)},
        tmp_path / "w.ckpt",
    )
    network, report = loaded(tmp_path / "w.ckpt")
    assert torch.equal(network[0].weight, averaged["0.weight"])
    assert "its state_dict_ema" in report.label


def test_what_does_not_fit_is_reported_and_left_new(tmp_path):
    state = drawn(small())
    state["3.weight"], state["3.bias"] = torch.rand(10, 8), torch.rand(10)
    state["aux.weight"] = torch.rand(2)
    del state["1.running_mean"]
    save_file(state, tmp_path / "weights.safetensors")
    network = small()
    before = network[3].weight.clone()
    _, report = loaded(tmp_path / "weights.safetensors", network)
    assert torch.equal(network[3].weight, before)
    assert torch.equal(network[0].weight, state["0.weight"])
    assert report.missing == ("1.running_mean",)
    assert report.unexpected == ("aux.weight",)
    assert {name: (now, there) for name, now, there in report.other_shape} == {
        "3.weight": ((4, 8), (10, 8)), "3.bias": ((4,), (10,)),
    }  # fmt: skip
    text = str(report)
    for words in ("3.weight (4×8, there 10×8)", "missing there: 1.running_mean", "aux.weight"):
        assert words in text
    plain = json.loads(json.dumps(report.to_dict()))
    assert {"name": "3.weight", "shape": [4, 8], "there": [10, 8]} in plain["other_shape"]
    assert plain["unexpected"] == ["aux.weight"]


def test_less_than_half_is_refused_and_changes_nothing():
    network = small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = drawn(network)
    for some in ({}, {"1.weight": state["1.weight"]}, {"x.weight": torch.rand(3)}):
        with pytest.raises(ValueError, match=r"weights that do not fit received; needed: .* at least half"):
            match(network, Weights("w", some)).put(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_files_that_could_run_code_are_refused(tmp_path):
    torch.save({"state_dict": {}, "thing": Weights("w", {})}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="cannot be read safely"):
        read_weights(tmp_path / "weights.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list; needed: tensors by name"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth does not exist"):
        read_weights(tmp_path / "nothing.pth")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=r"needed: a file, a run's folder with best\.ckpt"):
        read_weights(tmp_path / "folder")


def test_a_saved_network_brings_its_normalisation(tmp_path):
    model = dn.create_model("cifar_vgg11", 7, width=1 / 16).eval()
    dn.save_pretrained(dn.models.PixelNetwork(model, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]), tmp_path / "saved")
    weights = read_weights(tmp_path / "saved")
    assert weights.mean == pytest.approx((0.1, 0.2, 0.3))
    network = build(
        NetworkConfig(model="cifar_vgg11", width=1 / 16), "conv", 5, 3, given=(given := Given(weights))
    )
    assert torch.equal(network.stages[0][0][0].weight, model.stages[0][0][0].weight)
    assert {name for name, *_ in given.loaded.other_shape} == {"head.weight", "head.bias"}
    assert given.loaded.missing == given.loaded.unexpected == ()


def test_the_operators_own_numbers_are_loaded_where_they_belong(tmp_path):
    """Weights of a network with tanh-cos: for tanh-cos the whole response, for others the kernels."""
    config = NetworkConfig(model=TIMM)
    trained = build(config, "tanh-cos", 5, 3)
    with torch.no_grad():
        for layer in trained.modules():
            if isinstance(layer, dn.DecoupledConv2d):
                layer.radius.fill_(2.5)
    state = trained.state_dict()
    same = Given(Weights("w", state))
    network = build(config, "tanh-cos", 5, 3, given=same)
    assert same.own_operator
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert same.loaded.missing == same.loaded.unexpected == ()
    other = Given(Weights("w", state, operator="tanh-cos"))
    network = build(config, "ball-cos", 5, 3, given=other)
    assert not other.own_operator
    layer = next(m for m in network.modules() if isinstance(m, dn.DecoupledConv2d))
    assert torch.equal(layer.radius, torch.ones_like(layer.radius))
    assert any(name.endswith("radius") for name in other.loaded.unexpected)


def test_weights_of_dynamic_filters_fit_the_network_that_is_converted_alike():
    config = NetworkConfig(model=TIMM)
    state = drawn(build(config, "ddf", 5, 3))
    given = Given(Weights("w", state))
    network = build(config, "ddf", 5, 3, given=given)
    assert given.own_operator
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    with pytest.raises(ValueError, match="weights that do not fit"):
        build(config, "conv", 5, 3, given=Given(Weights("w", state)))


def test_our_own_networks_take_weights_too():
    config = NetworkConfig(model="cifar_vgg11", width=1 / 16)
    plain = drawn(build(config, "conv", 5, 3))
    given = Given(Weights("w", plain))
    network = build(config, "tanh-cos", 5, 3, given=given)
    assert torch.equal(network.stages[0][0][0].weight, plain["stages.0.0.0.weight"])
    assert not given.own_operator
    trained = network.state_dict()
    given = Given(Weights("w", trained))
    build(config, "tanh-cos", 5, 3, given=given)
    assert given.own_operator


def in_timm_cache(tmp_path, monkeypatch):
    state = drawn(timm.create_model("test_resnet"))
    in_hub_cache(tmp_path / "hub", "timm/test_resnet.r160_in1k", {"model.safetensors": state}, monkeypatch)
    return state


def test_timms_own_weights_come_from_the_cache(tmp_path, monkeypatch):
    config = NetworkConfig(model=TIMM, pretrained=True)
    with pytest.raises(
        ValueError, match=rf"the weights of {TIMM} are not on this machine; needed: download=True"
    ):
        given_weights(config)
    state = in_timm_cache(tmp_path, monkeypatch)
    weights = given_weights(config)
    assert (weights.label, weights.mean, weights.std) == (
        "timm:test_resnet.r160_in1k",
        (0.5,) * 3,
        (0.5,) * 3,
    )
    given = Given(weights)
    network = build(config, "tanh-cos", 5, 3, given=given)
    assert torch.equal(network.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])
    assert {name for name, *_ in given.loaded.other_shape} == {"fc.weight", "fc.bias"}
    assert given.loaded.missing == ()


def test_reading_weights_draws_no_random_numbers(tmp_path, monkeypatch):
    in_timm_cache(tmp_path, monkeypatch)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    given_weights(NetworkConfig(model=TIMM, pretrained=True))
    assert torch.equal(torch.rand(3), expected)


def test_a_network_without_weights_says_so():
    with pytest.raises(ValueError, match="for which there are no weights"):
        given_weights(NetworkConfig(model="timm:test_coatnet", pretrained=True))


def test_torchvisions_own_weights_come_from_the_cache(tmp_path, monkeypatch, capsys):
    config = NetworkConfig(model="torchvision:squeezenet1_1", pretrained=True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ValueError, match="are not on this machine; needed: download=True"):
        given_weights(config)
    assert capsys.readouterr().out == ""  # it does not say that it downloads
    (tmp_path / "checkpoints").mkdir(exist_ok=True)
    state = drawn(torchvision.models.squeezenet1_1())
    name = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    torch.save(state, tmp_path / "checkpoints" / name)
    weights = given_weights(config)
    assert weights.mean == (0.485, 0.456, 0.406)
    network = build(config, "conv", 5, 3, given=Given(weights))
    assert torch.equal(network.features[0].weight, state["features.0.weight"])


def test_an_encoders_weights_come_from_the_cache(tmp_path, monkeypatch):
    smp = pytest.importorskip("segmentation_models_pytorch")
    config = NetworkConfig(model="smp:fpn:resnet18", pretrained=True)
    encoder = smp.encoders.get_encoder("resnet18")
    state = {name: value.contiguous() for name, value in drawn(encoder).items()}
    settings = smp.encoders.encoders["resnet18"]["pretrained_settings"]["imagenet"]
    files = {
        "model.safetensors": state,
        "config.json": {
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2] * 3,
            "input_range": [0, 1],
            "input_space": "RGB",
        },
    }
    in_hub_cache(tmp_path / "hub", settings["repo_id"], files, monkeypatch, settings["revision"])
    weights = given_weights(config)
    assert weights.mean == (0.4, 0.5, 0.6)
    given = Given(weights)
    network = build(config, "conv", 5, 3, dense=True, given=given)
    assert torch.equal(network.network.encoder.conv1.weight, state["conv1.weight"])
    assert given.loaded.parameters == given.loaded.of  # the decoder has none, and is not asked for


@pytest.mark.parametrize(
    "error", [OSError("no route to host"), RuntimeError('invalid hash value (expected "x")')]
)
def test_a_fetch_that_fails_says_why(error, monkeypatch):
    def fails(self, model):
        raise error

    monkeypatch.setattr(type(source_named("torchvision:alexnet")[0]), "pretrained", fails)
    config = NetworkConfig(model="torchvision:alexnet", pretrained=True)
    with pytest.raises(
        ValueError, match=rf"cannot be had: {re.escape(str(error))}; needed: that the"
    ) as told:
        fetch(config)
    assert "download=True" not in str(told.value)
    with pytest.raises(ValueError, match="download=True" if isinstance(error, OSError) else "cannot be had"):
        given_weights(config)  # a file that is damaged is there


def test_weights_that_cannot_be_used_are_refused_in_their_own_words(monkeypatch):
    smp = pytest.importorskip("segmentation_models_pytorch")
    grey = {"input_space": "BGR", "input_range": [0, 1]}
    monkeypatch.setattr(smp.encoders, "get_preprocessing_params", lambda encoder: grey)
    monkeypatch.setattr(smp, "create_model", lambda *args, **options: nn.Conv2d(3, 3, 1))
    config = NetworkConfig(model="smp:fpn:resnet18", pretrained=True)
    for get in (fetch, given_weights):
        with pytest.raises(ValueError, match=r"^the weights of resnet18 take BGR images; needed: RGB$"):
            get(config)


def test_an_architecture_that_is_none_is_not_taken_for_missing_weights():
    pytest.importorskip("segmentation_models_pytorch")
    with pytest.raises(ValueError, match="model smp:nothing:resnet18 received; needed: smp:ARCH:ENCODER"):
        given_weights(NetworkConfig(model="smp:nothing:resnet18", pretrained=True))


def test_nothing_is_downloaded_in_there():
    from huggingface_hub import constants

    before = (constants.HF_HUB_OFFLINE, torch.hub.download_url_to_file)
    with no_downloads():
        assert constants.is_offline_mode()
        with pytest.raises(FileNotFoundError, match="is not in the cache"):
            torch.hub.load_state_dict_from_url("https://example.com/x.pth", model_dir="/nonexistent-folder")
    assert (constants.HF_HUB_OFFLINE, torch.hub.download_url_to_file) == before
