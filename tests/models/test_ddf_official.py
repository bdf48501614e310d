"""Released weights: logits, the forms in which checkpoints come, and what is refused."""

from __future__ import annotations

import argparse
import os
from collections import OrderedDict

import pytest
import torch
from released import released_logits, released_state
from safetensors.torch import save_file
from torch import nn

import decoupled_nets as dn

LAYERS = (3, 4, 6, 3)
NAME = "ddf_mul_resnet50"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return released_state(classes=11)


@pytest.fixture
def model() -> nn.Module:
    return dn.create_model(NAME, 11).eval()


def same(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def with_std(state):
    return {name.replace("branch.4.scale", "branch.4.std"): value for name, value in state.items()}


@torch.no_grad()
@pytest.mark.parametrize("combine", ["mul", "add"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_logits_are_the_released_codes(state, combine, dtype, tolerance):
    model = dn.create_model(f"ddf_{combine}_resnet50", 11).eval()
    assert dn.load_official(model, state) is model
    x = torch.randn(2, 3, 64, 96, dtype=dtype)
    expected = released_logits(x, state, combine=combine)
    assert expected.std() > 0.1
    torch.testing.assert_close(model.to(dtype)(x), expected, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_another_depth_and_squeeze_ratio():
    layers = (3, 4, 23, 3)
    state = released_state(layers, sigma=0.1, classes=5, in_chans=1)
    model = dn.create_model("ddf_mul_resnet101", 5, 1, squeeze_ratio=0.1).eval()
    dn.load_official(model, state)
    x = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(model(x), released_logits(x, state, layers), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_default_arithmetic_would_not_give_them(state, model):
    """Which is why loading switches it, and why a plain ``load_state_dict`` is refused."""
    x = torch.randn(1, 3, 64, 64)
    expected = released_logits(x, state)
    with pytest.raises(RuntimeError, match=r"channel_branch\.4\.std"):
        model.load_state_dict(state)
    renamed = {name.replace("branch.4.std", "branch.4.scale"): value for name, value in state.items()}
    model.load_state_dict(renamed)
    assert (model(x) - expected).abs().max() > 1e-2
    dn.load_official(model, state)
    assert {m.norm for m in model.modules() if isinstance(m, dn.DDF2d)} == {"released"}
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


def test_what_was_loaded_goes_on_in_a_network_built_for_it(state, model):
    saved = dn.load_official(model, state).state_dict()
    assert set(saved) == set(state)
    other = dn.create_model(NAME, 11, norm="released")
    assert other.load_state_dict(saved) == ([], [])
    with pytest.raises(RuntimeError, match=r"channel_branch\.4\.scale"):
        dn.create_model(NAME, 11).load_state_dict(saved)
    assert same(dn.load_official(other, saved), state)


def checkpoint(state, form):
    wrapped = OrderedDict((f"module.{name}", value) for name, value in state.items())
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    return {
        "plain": state,
        "prefix": wrapped,
        "compiled": {f"module._orig_mod.{name}": value for name, value in state.items()},
        "training": {
            "epoch": 3, "arch": NAME, "state_dict": wrapped, "optimizer": {"state": {}, "param_groups": []},
            "version": 2, "args": argparse.Namespace(lr=0.4, model=NAME), "metric": 79.1,
        },
        "averaged": {"state_dict": other, "state_dict_ema": wrapped},
        "averaged alone": {"state_dict_ema": wrapped},
        "model": {"model": state},
    }[form]  # fmt: skip


FORMS = ["plain", "prefix", "compiled", "training", "averaged", "averaged alone", "model"]


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_checkpoints(form, state, model):
    assert same(dn.load_official(model, checkpoint(state, form)), state)


@pytest.mark.parametrize(("suffix", "form"), [(".pth", "plain"), (".pth.tar", "training")])
@pytest.mark.parametrize("legacy", [False, True])
def test_files(suffix, form, legacy, state, model, tmp_path):
    path = tmp_path / f"ddf{suffix}"
    torch.save(checkpoint(state, form), path, _use_new_zipfile_serialization=not legacy)
    assert same(dn.load_official(model, path), state)
    assert same(dn.load_official(dn.create_model(NAME, 11), str(path)), state)


def test_safetensors(state, model, tmp_path):
    save_file(state, tmp_path / "ddf.safetensors")
    assert same(dn.load_official(model, tmp_path / "ddf.safetensors"), state)


def test_weights_that_are_not_averaged(state, model):
    other = {name: value + 1 for name, value in state.items()}
    assert same(dn.load_official(model, {"state_dict": state, "state_dict_ema": other}, ema=False), state)


@torch.no_grad()
def test_without_a_classifier(state):
    x = torch.randn(1, 3, 64, 64)
    backbone = dn.create_model(NAME, 0).eval()
    features = dn.load_official(backbone, state)(x)
    logits = features @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(logits, released_logits(x, state), rtol=1e-4, atol=1e-4)
    pyramid = dn.create_model(NAME, features_only=True).eval()
    maps = dn.load_official(pyramid, state)(x)
    torch.testing.assert_close(maps[-1].mean((2, 3)), features, rtol=1e-4, atol=1e-4)


class Harmful:
    """Would run a command if it were unpickled."""

    def __reduce__(self):
        return os.system, ("touch harm",)


def test_no_code_is_unpickled(state, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": state, "args": Harmful()}, "harmful.pth.tar")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"harmful\.pth\.tar cannot be read safely as a checkpoint"):
        dn.load_official(model, "harmful.pth.tar")
    assert not (tmp_path / "harm").exists()
    assert same(model, before)


def test_files_that_are_none(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth does not exist"):
        dn.load_official(model, tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(ValueError, match="cannot be read safely"):
        dn.load_official(model, tmp_path / "text.pth")
    with pytest.raises(TypeError, match="int received; needed: a path or a state dict"):
        dn.load_official(model, 3)


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "layer2.1.bn2.bias"), "layer2.1.bn2.bias is missing"),
        (lambda s: {**s, "layer9.weight": torch.zeros(1)}, "layer9.weight is not known"),
        (lambda s: {**s, "fc.bias": torch.zeros(1000)}, r"fc.bias has shape \(1000,\), not \(11,\)"),
        (lambda s: {**s, "layer": "3"}, "'layer' is a str; needed: a state dict of tensors"),
        (lambda s: {"arch": "ddf_add_resnet50", "state_dict": s}, "weights of ddf_add_resnet50 received"),
        (lambda s: {}, "conv1.weight is missing.*and [0-9]+ more"),
    ],
)
def test_weights_that_do_not_fit_leave_the_model_as_it_was(change, message, state, model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        dn.load_official(model, change(state))
    assert same(model, before)
    assert {m.norm for m in model.modules() if isinstance(m, dn.DDF2d)} == {"filter"}


def test_a_network_without_memory(state):
    with torch.device("meta"):
        model = dn.create_model(NAME, 11)
    with pytest.raises(ValueError, match=r"on the meta device received.*to_empty\(\)"):
        dn.load_official(model, state)
    assert same(dn.load_official(model.to_empty(device="cpu"), state), state)


def test_models_that_cannot_have_them(state):
    with pytest.raises(ValueError, match="CNN9 without DDF2d layers received"):
        dn.load_official(dn.create_model("cnn9", width=0.1), state)
    for norm in ("paper", "batch", "sigmoid"):
        with torch.device("meta"):
            model = dn.create_model(NAME, 11, norm=norm)
        with pytest.raises(ValueError, match=f"norm = '{norm}' received; needed: 'filter' or 'released'"):
            dn.load_official(model, state)


def test_a_model_of_the_other_arithmetic_by_construction(state):
    model = dn.create_model(NAME, 11, norm="released")
    assert set(with_std(dn.create_model(NAME, 11).state_dict())) == set(model.state_dict())
    assert model.load_state_dict(state) == ([], [])


def test_the_combination_is_the_layers_and_the_files_own(tmp_path):
    small = {"width": 0.125, "num_classes": 7}
    added = dn.create_model("ddf_add_resnet50", **small)
    weights = dn.create_model("ddf_mul_resnet50", norm="released", **small).state_dict()
    with pytest.raises(ValueError, match="needed: those of a network with combine = 'add'"):
        dn.load_official(added, {"arch": "ddf_mul_resnet50", "state_dict": weights})
    torch.save(weights, tmp_path / "ddf_mul_resnet50.pth")
    with pytest.raises(ValueError, match="needed: those of a network with combine = 'add'"):
        dn.load_official(added, tmp_path / "ddf_mul_resnet50.pth")


def test_networks_and_weights_that_were_never_released():
    small = {"width": 0.125, "num_classes": 7}
    with pytest.raises(ValueError, match="branches = 'spatial' received; needed: 'both'"):
        dn.load_official(dn.create_model("ddf_mul_resnet50", operator="ddf-spatial", **small), {})
    model = dn.create_model("ddf_mul_resnet50", **small)
    weights = {name: t.to("meta") for name, t in model.state_dict().items()}
    with pytest.raises(ValueError, match="is a tensor without memory"):
        dn.load_official(model, weights)
    assert model.layer1[0].conv2.norm == "filter"
