"""DDF2d: values against the module written out, gradients, and sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from ddf_cases import BRANCHES, ddf_by_unfolding, released_module
from torch import nn

import decoupled_nets as dn

OPTIONS = [
    {},
    {"combine": "add"},
    {"stride": 2},
    {"stride": (2, 1), "dilation": (1, 2)},
    {"kernel_size": (3, 5)},
    {"kernel_size": (1, 3), "heads": 2},
    {"kernel_size": 5, "heads": 6, "combine": "add", "dilation": 2},
    {"norm": "filter"},
    {"init": "random"},
    {"bias": True, "stride": 2},
    {"norm": "released", "stride": 2},
    {"norm": "sigmoid", "combine": "add"},
    {"norm": "batch"},
    {"branches": "spatial", "heads": 3},
    {"branches": "channel", "stride": 2},
    {"branches": "channel", "combine": "add"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("size", [(7, 6), (1, 1), (5, 8)])
def test_layer_is_its_filters_applied_to_every_patch(near, options, size):
    layer = dn.DDF2d(6, dtype=torch.float64, **options)
    x = torch.randn(3, 6, *size, dtype=torch.float64)
    channel, spatial = layer.eval().filters(x)
    combine = layer.combine if layer.branches == "both" else "mul"
    expected = ddf_by_unfolding(x, channel, spatial, layer.stride, layer.dilation, combine)
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
        expected = expected + layer.bias.view(-1, 1, 1)
    near(layer(x), expected)
    sizes = [-(-n // s) for n, s in zip(size, layer.stride, strict=True)]
    assert list(expected.shape[2:]) == sizes


@pytest.mark.parametrize("combine", ["mul", "add"])
@pytest.mark.parametrize("stride", [1, 2])
def test_released_arithmetic(near, combine, stride):
    layer = dn.DDF2d(10, stride=stride, combine=combine, norm="released", dtype=torch.float64)
    x = torch.rand(2, 10, 9, 8, dtype=torch.float64)
    near(layer(x), released_module(x, layer.state_dict(), "", stride, 1, combine))


def test_switching_to_it(near):
    layer = dn.DDF2d(10, norm="filter", dtype=torch.float64)
    state = layer.state_dict()
    state["channel_branch.4.std"] = state.pop("channel_branch.4.scale")
    x = torch.rand(2, 10, 9, 8, dtype=torch.float64)
    before = layer(x)
    layer.use_released_arithmetic()
    assert layer.norm == "released"
    near(layer(x), released_module(x, state, ""))
    # Both deviations are a constant factor apart: sqrt(8/9) for each branch.
    torch.testing.assert_close(layer(x), before * 8 / 9, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("norm", ["paper", "batch", "sigmoid"])
def test_another_normalisation_has_no_released_arithmetic(norm):
    with pytest.raises(ValueError, match=f"norm = '{norm}' received"):
        dn.DDF2d(4, norm=norm).use_released_arithmetic()


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 64 * 9 + 9 + 2 + (64 * 12 + 12) + (12 * 576 + 576) + 2 * 64),
        ({"norm": "filter"}, 64 * 9 + 9 + (64 * 12 + 12) + (12 * 576 + 576) + 576),
        ({"norm": "released"}, 9429),
        ({"norm": "paper"}, 9429 - 576 + 2 * 64 + 2),
        ({"norm": "sigmoid"}, 9429 - 576),
        ({"norm": "batch"}, 9429 - 576 + 2 * 576 + 2 * 9),
        ({"branches": "spatial"}, 64 * 9 + 9 + 2),
        ({"branches": "channel"}, 8983 - 587),
        ({"heads": 4}, 8983 + 3 * 587),
        ({"squeeze_ratio": 0.01}, 587 + (64 + 1) + (576 + 576) + 2 * 64),
        ({"bias": True}, 8983 + 64),
    ],
    ids=str,
)
def test_parameter_counts(options, count):
    layer = dn.DDF2d(64, device="meta", **options)
    assert sum(p.numel() for p in layer.parameters()) == count


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_few_channels(channels):
    layer = dn.DDF2d(channels)
    assert layer.channel_branch[1].out_channels == 1
    assert layer(torch.randn(2, channels, 5, 5)).shape == (2, channels, 5, 5)


def test_names_of_the_released_modules_parts():
    assert set(dn.DDF2d(8, norm="released").state_dict()) == {
        "spatial_branch.0.weight", "spatial_branch.0.bias", "channel_branch.1.weight",
        "channel_branch.1.bias", "channel_branch.3.weight", "channel_branch.3.bias", "channel_branch.4.std",
    }  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_everything_trains(options):
    layer = dn.DDF2d(6, squeeze_ratio=2.0, **options)
    x = torch.randn(4, 6, 7, 6, requires_grad=True)
    layer(x).square().sum().backward()
    for name, tensor in (("input", x), *layer.named_parameters()):
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.abs().sum() > 0, name


@pytest.mark.parametrize("branches", BRANCHES)
def test_gradients_are_finite_for_constant_filters(branches):
    layer = dn.DDF2d(4, branches=branches)
    for part in layer.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    y = layer(x)
    y.backward(torch.randn_like(y))
    assert all(t.grad.isfinite().all() and t.grad.abs().max() < 1e5 for t in (x, *layer.parameters()))


@pytest.mark.parametrize("combine", ["mul", "add"])
def test_gradcheck_through_the_layer(combine):
    layer = dn.DDF2d(2, heads=2, stride=2, combine=combine, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]

    def fn(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fn, (x, *values))


def test_a_depthwise_convolution_is_a_special_case(near):
    """All images' channel filters alike, spatial filters of ones."""
    layer = dn.DDF2d(4, stride=2, dilation=2, branches="channel", dtype=torch.float64)
    nn.init.zeros_(layer.channel_branch[3].weight)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    weight = layer.filters(x)[0][0].unsqueeze(1)
    near(layer(x), F.conv2d(x, weight, stride=2, padding=2, dilation=2, groups=4))
