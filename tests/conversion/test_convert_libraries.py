"""Layers of other libraries, converted by what they compute."""

from __future__ import annotations

import pytest
import timm.layers
import torch
import torchvision
from class_cases import NOTHING, X
from torch import nn

import decoupled_nets as dn


@pytest.mark.parametrize(
    "name", ["Conv2dSame", "StdConv2d", "StdConv2dSame", "ScaledStdConv2d", "ScaledStdConv2dSame"]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_of_timm(name, stride, near):
    layer = getattr(timm.layers, name)(4, 8, 3, stride).eval()
    plain = layer(X)
    assert dn.convert(layer, **NOTHING).converted
    near(layer(X), plain)
    dn.revert(layer)
    assert torch.equal(layer(X), plain)


@pytest.mark.parametrize(
    "module", ["efficientnet_lite_pytorch.utils", "segmentation_models_pytorch.encoders._efficientnet"]
)
def test_convolutions_of_efficientnet_pytorch(module, near):
    layers = pytest.importorskip(module)
    for layer in (
        layers.Conv2dStaticSamePadding(4, 8, 5, 2, image_size=224),
        layers.Conv2dDynamicSamePadding(4, 8, 3, 2),
    ):
        plain = layer(X)
        assert dn.convert(layer, **NOTHING).converted
        near(layer(X), plain)


def test_every_convolution_of_efficientnet_lite():
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    model = lite.EfficientNet.from_name("efficientnet-lite0").eval()
    x = torch.rand(1, 3, 64, 64)
    plain = model(x)
    select = dn.Select(kernel_size="any", shortcuts=True, depthwise=True)
    report = dn.convert(model, select=select)
    assert (len(report.converted), len(report.left)) == (49, 0)
    assert type(model._fc) is nn.Linear
    dn.revert(model)
    assert torch.equal(model(x), plain)


def test_convolutions_of_torchvisions_video_networks():
    models = torchvision.models
    for name, count in (("r3d_18", 17), ("mc3_18", 17), ("r2plus1d_18", 34)):
        with torch.device("meta"):
            model = models.get_model(name, weights=None)
        report = dn.convert(model)
        assert len(report.converted) == count
        assert {fate.reason for fate in report.left} == {"1×1×1"}
