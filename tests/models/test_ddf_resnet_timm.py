"""Residual networks of dynamic filters through timm: its options, features and strides."""

from __future__ import annotations

import warnings

import pytest
import timm
import torch

import decoupled_nets as dn

SMALL = "ddf_cifar_resnet26"


@pytest.fixture
def registered() -> list[str]:
    return dn.register_timm()


def test_timm_knows_all_our_networks(registered):
    assert set(registered) == set(dn.list_models())
    assert set(registered) <= set(timm.list_models())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dn.register_timm() == registered
    for name in registered:
        assert timm.models.get_pretrained_cfg(name).architecture == name


@torch.no_grad()
def test_timms_options(registered):
    model = timm.create_model("ddf_mul_resnet50", num_classes=3, in_chans=1, drop_path_rate=0.2).eval()
    assert model(torch.rand(1, 1, 65, 64)).shape == (1, 3)
    rates = [m.drop_prob for m in model.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.2)
    features = timm.create_model(
        "ddf_add_resnet50", features_only=True, output_stride=8, out_indices=(1, 3, 4)
    ).eval()
    assert features.feature_info.reduction() == [4, 8, 8]
    maps = features(torch.rand(1, 3, 65, 49))
    assert [tuple(m.shape[1:]) for m in maps] == [(256, 17, 13), (1024, 9, 7), (2048, 9, 7)]
    config = timm.data.resolve_model_data_config(model)
    assert config["input_size"] == (3, 224, 224)


@torch.no_grad()
def test_features_of_small_images(registered):
    features = timm.create_model(SMALL, features_only=True, width=0.125).eval()
    maps = features(torch.rand(1, 3, 32, 32))
    assert [32 // m.shape[2] for m in maps] == features.feature_info.reduction() == [1, 1, 2, 4, 8]


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "stride"), [(SMALL, 2), (SMALL, 4), (SMALL, 8), *(("ddf_resnet18", s) for s in (8, 16, 32))]
)
def test_output_stride_is_that_of_the_output(registered, name, stride):
    features = timm.create_model(name, features_only=True, width=0.125, output_stride=stride).eval()
    reductions = features.feature_info.reduction()
    assert reductions[-1] == max(reductions) == stride
    assert [64 // m.shape[2] for m in features(torch.rand(1, 3, 64, 64))] == reductions


@pytest.mark.parametrize(
    ("name", "stride", "possible"), [(SMALL, 16, r"\[2, 4, 8\]"), ("ddf_resnet18", 4, r"\[8, 16, 32\]")]
)
def test_output_strides_that_are_not_possible(name, stride, possible):
    with pytest.raises(ValueError, match=rf"output_stride = {stride} received; needed: one of {possible}"):
        dn.create_model(name, output_stride=stride)


def test_our_own_networks_through_timm(registered):
    model = timm.create_model("cnn9", num_classes=4, operator="ball-cos", width=0.1)
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 4)
    assert timm.data.resolve_model_data_config(model)["input_size"] == (3, 32, 32)
    assert len(timm.create_model("cnn9", features_only=True, width=0.1)(torch.rand(1, 3, 32, 32))) == 3
    for name in ("cnn9", "ddf_mul_resnet50"):
        with pytest.raises(ValueError, match="timm has no weights for"):
            timm.create_model(name, pretrained=True)
