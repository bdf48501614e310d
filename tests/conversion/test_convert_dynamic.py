"""``dn.convert(model, "ddf")``: convolutions that give way to dynamic filters."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
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


@pytest.mark.parametrize("variant", DDF_VARIANTS)
def test_a_layer_of_one_tap_is_left_where_filters_are_standardised(variant):
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1, groups=8))
    select = dn.Select(kernel_size="any", depthwise=True, outputs=True)
    report = dn.convert(model, variant, select=select)
    assert isinstance(model[0], dn.DDF2d)
    if any(isinstance(part, dn.FilterNorm) for part in model[0].modules()):
        assert "1×1" in report.left[0].reason
        assert type(model[1]) is nn.Conv2d
    else:
        assert isinstance(model[1], dn.DDF2d)
    assert model(torch.rand(2, 8, 5, 5)).isfinite().all()


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
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
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


def mixed_up(model: nn.Module) -> nn.Module:
    """BatchNorm's statistics from a few batches; residual branches that count from the start."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
        if isinstance(scale := getattr(module, "gamma", None), nn.Parameter):
            nn.init.ones_(scale)
    with torch.no_grad():
        for _ in range(2):
            model.train()(torch.randn(4, 3, 64, 64))
    return model.double().eval()


def is_depthwise(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("timm:test_convnext", "ddf"),
        ("timm:test_efficientnet", "ddf-add"),
        ("timm:test_efficientnet", "ddf-channel"),
        pytest.param("mobilenet_v2", "ddf", marks=pytest.mark.sweep),
    ],
)
def test_a_network_of_depthwise_convolutions_answers_as_before(name, variant):
    """Strides, a bias and 7×7 kernels among them; another start does not."""
    library, _, known = name.rpartition(":")
    model = mixed_up(timm.create_model(known) if library else torchvision.models.get_model(known))
    other = copy.deepcopy(model)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    expected = model(x)
    report = dn.convert(model, variant, select=is_depthwise, squeeze_ratio=1 / 64)
    assert {fate.note for fate in report.converted} == {"weights kept"}
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)
    report = dn.convert(other, "ddf-paper", select=is_depthwise, squeeze_ratio=1 / 64)
    assert {fate.note for fate in report.converted} == {"weights dropped"}
    assert (other(x) - expected).norm() > 0.1 * expected.norm()


@torch.no_grad()
@pytest.mark.parametrize("variant", ["ddf", "ddf-filter"])
def test_a_bias_stays(variant):
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
    bias = model[0].bias.clone()
    dn.convert(model, variant)
    assert torch.equal(model[0].bias, bias)


@torch.no_grad()
def test_where_channels_change_the_separable_part_of_the_kernels_is_kept(near):
    first = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 10, 1))
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    dense = nn.Conv2d(4, 10, 3, stride=2, padding=1).double()
    first[0].stride, first[0].bias = (2, 2), None
    first = first.double()
    dense.weight.copy_(first[1].weight * first[0].weight.view(1, 4, 3, 3))
    dense.bias.copy_(first[1].bias)
    model = nn.Sequential(copy.deepcopy(dense), nn.BatchNorm2d(10).double()).eval()
    report = dn.convert(model, "ddf", mix_channels=True)
    assert [fate.note for fate in report.converted] == ["the separable part of the weights kept"]
    near(model[0](x), first(x))
    nn.init.normal_(dense.weight)
    model = nn.Sequential(copy.deepcopy(dense), nn.BatchNorm2d(10).double()).eval()
    dn.convert(model, "ddf", mix_channels=True)
    expected = dense(x)
    assert 0.2 < (model[0](x) - expected).norm() / expected.norm() < 1


def test_a_layer_on_the_meta_device_keeps_nothing_and_says_nothing_else():
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 4, 3, padding=1))
        model.append(nn.BatchNorm2d(4))
    dn.convert(model, "ddf", mix_channels=True, select=dn.Select(kernel_size=3, depthwise=True))
    assert isinstance(model[0], dn.DDF2d)
    assert {p.device.type for p in model.parameters()} == {"meta"}


@torch.no_grad()
def test_a_dense_convolution_keeps_its_separable_part_if_a_1x1_convolution_may_follow():
    def made() -> nn.Sequential:
        torch.manual_seed(1)
        layers = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8)
        return nn.Sequential(*layers).eval()

    x = torch.randn(2, 8, 9, 9)
    expected, errors = made()(x), {}
    for mixing in (True, "dense"):
        model = made()
        report = dn.convert(
            model, "ddf", mix_channels=mixing, select=dn.Select(kernel_size=3, depthwise=True)
        )
        errors[mixing] = (model(x) - expected).norm().item()
        first = ("DDF2d, Conv2d 1×1", "the separable part of the weights kept")
        kept = ("DDF2d", "weights kept")
        fates = [(fate.became, fate.note) for fate in report.converted]
        assert fates == [first if mixing == "dense" else ("DDF2d", "weights dropped"), kept]
    assert errors["dense"] < 0.9 * expected.norm() < errors[True]
    with pytest.raises(ValueError, match="mix_channels = 'all' received; needed: False, True or 'dense'"):
        dn.convert(made(), "ddf", mix_channels="all")
