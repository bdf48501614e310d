"""``dn.convert(model, "ddf")``: convolutions that give way to dynamic filters."""

from __future__ import annotations

import pytest
import torch
from foreign_layers import DynamicSame, OtherMethods
from torch import nn

import decoupled_nets as dn
from decoupled_nets.nn.dynamic import DDF_VARIANTS


def test_dynamic_filters():
    model = nn.Sequential(
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 6, 3, padding=1),
        nn.Conv2d(6, 6, 3),
        nn.BatchNorm2d(6),
    )
    x = torch.randn(2, 8, 7, 7)
    shape = model(x).shape
    state = torch.get_rng_state()
    report = dn.convert(model, "ddf", mix_channels=True, dry_run=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(model[0]) is nn.Conv2d
    assert dn.convert(model, "ddf", mix_channels=True, heads=2).fates == report.fates
    assert [fate.became for fate in report.fates] == ["DDF2d", "DDF2d, Conv2d 1×1", None]
    assert "padding" in report.left[0].reason
    assert isinstance(model[0], dn.DDF2d)
    assert model(x).shape == shape
    with pytest.raises(ValueError, match=r"2 convolutions .* were replaced by dynamic filters"):
        dn.revert(model)


def test_dynamic_filters_say_that_hooks_are_gone():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU6())
    model.append(nn.BatchNorm2d(8))
    model[0].register_forward_hook(lambda *_: None)
    notes = [fate.note for fate in dn.convert(model, "ddf").converted]
    assert notes == ["weights and hooks dropped", "weights dropped"]


def test_the_mixing_convolution_has_the_old_bias():
    """A detector's says how rare its classes are."""
    model = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1))
    nn.init.constant_(model[0].bias, -4.6)
    bias = model[0].bias.detach().clone()
    dn.convert(model, "ddf", mix_channels=True, select=dn.Select(kernel_size=3, outputs=True))
    assert torch.equal(model[0][1].bias, bias)
    assert model[0][1].bias.requires_grad
    without = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6))
    dn.convert(without, "ddf", mix_channels=True)
    assert without[0][1].bias is None


def test_subclasses():
    model = nn.Sequential(OtherMethods(8, 8, 3, padding=1), DynamicSame(8, 8, 3), nn.BatchNorm2d(8))
    report = dn.convert(model, "ddf")
    assert isinstance(model[0], dn.DDF2d)
    assert [fate.reason for fate in report.left] == ["DynamicSame, and a DDF is for nn.Conv2d"]


@pytest.mark.parametrize("variant", DDF_VARIANTS)
def test_every_variant_is_the_one_that_networks_are_built_of(variant):
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
    dn.convert(model, variant)
    network = dn.create_model("ddf_cifar_resnet26", operator=variant, width=0.25, num_classes=2)
    own = next(m for m in network.modules() if isinstance(m, dn.DDF2d)).options()
    got = model[0].options()
    assert {name: got[name] for name in DDF_VARIANTS[variant]} == DDF_VARIANTS[variant]
    assert {name: got[name] for name in DDF_VARIANTS[variant]} == {
        name: own[name] for name in DDF_VARIANTS[variant]
    }
    assert (got == dn.DDF2d(8).options()) is (variant in ("ddf", "ddf-mul"))


def test_an_option_that_contradicts_the_variant():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
    with pytest.raises(
        ValueError, match="operator 'ddf-add' and combine = 'mul' received; needed: combine = 'add'"
    ):
        dn.convert(model, "ddf-add", combine="mul")
    assert type(model[0]) is nn.Conv2d
