"""What a DDF2d starts as, by its effect."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import decoupled_nets as dn
from decoupled_nets.nn.filter_norm import NORMS
from decoupled_nets.nn.start import separable, start_from_kernel


def depthwise(x, kernels, stride=1):
    """Every image with depth-wise kernels of its own, (B, C, kh, kw)."""
    images = [
        F.conv2d(
            image[None], kernel[:, None], stride=stride, padding=kernel.shape[-1] // 2, groups=len(image)
        )
        for image, kernel in zip(x, kernels, strict=True)
    ]
    return torch.cat(images)


def modulation(layer, x):
    """How far the response is from a depth-wise convolution with the channel filters, in parts of it."""
    alone = depthwise(x, layer.filters(x)[0], layer.stride)
    return ((layer(x) - alone).norm() / alone.norm()).item()


@torch.no_grad()
@pytest.mark.parametrize("combine", ["mul", "add"])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "heads": 4}, {"kernel_size": 5, "gain": 3.0}], ids=str)
def test_it_starts_as_a_depthwise_convolution_that_the_image_modulates(near, combine, options):
    layer = dn.DDF2d(64, combine=combine, dtype=torch.float64, **options)
    assert layer.init == "depthwise"
    x = torch.randn(4, 64, 17, 16, dtype=torch.float64)
    channel, spatial = layer.filters(x)
    taps = spatial.unflatten(1, (layer.heads, -1))
    tap = 1.0 if combine == "mul" else layer.gain / layer.kernel_size[0]
    mean = torch.full_like(taps[:, :, 0], 1.0 if combine == "mul" else 0.0)
    torch.testing.assert_close(taps.mean(2), mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        taps.std(2, correction=0), torch.full_like(taps[:, :, 0], 0.3 * tap), rtol=1e-3, atol=0
    )
    assert 0.15 < modulation(layer, x) < 0.5
    assert modulation(dn.DDF2d(64, init="random", combine=combine, dtype=torch.float64, **options), x) > 0.7
    nn.init.zeros_(layer.spatial_branch[1].scale)
    near(layer(x), depthwise(x, channel, layer.stride))


@torch.no_grad()
def test_a_bias_starts_at_zero_and_is_added(near):
    layer = dn.DDF2d(4, bias=True)
    x = torch.randn(2, 4, 5, 5)
    before = layer(x)
    assert not layer.bias.any()
    layer.bias.copy_(torch.arange(4.0))
    near(layer(x), before + torch.arange(4.0).view(-1, 1, 1))
    layer.reset_parameters()
    assert not layer.bias.any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("branches", ["both", "spatial", "channel"])
def test_which_layers_start_so(norm, branches):
    possible = norm == "paper" and branches != "spatial"
    assert dn.DDF2d(6, norm=norm, branches=branches).init == ("depthwise" if possible else "random")
    if not possible:
        with pytest.raises(ValueError, match=r"init = 'depthwise' with norm = .* needed: norm = 'paper'"):
            dn.DDF2d(6, norm=norm, branches=branches, init="depthwise")
    with pytest.raises(ValueError, match=r"init = 'identity' received; needed: None or one of"):
        dn.DDF2d(6, norm=norm, branches=branches, init="identity")


@torch.no_grad()
@pytest.mark.parametrize("init", ["depthwise", "random"])
def test_a_reset_gives_the_same_start(init):
    layer = dn.DDF2d(6, init=init, bias=True)
    again = copy.deepcopy(layer)
    for parameter in again.parameters():
        nn.init.constant_(parameter, 7.0)
    again.reset_parameters()
    for name, value in layer.state_dict().items():
        if name.startswith("spatial_branch.1") or name == "bias":
            assert torch.equal(again.state_dict()[name], value), name
    assert f"init='{init}', bias=True" in repr(again)


@torch.no_grad()
def test_released_forms_start_as_they_did():
    """To the bit: their weights and their parameter counts are published."""
    torch.manual_seed(3)
    parts = nn.Sequential(
        nn.Conv2d(6, 9, 1), dn.FilterNorm(1, 3, affine=None), nn.Conv2d(6, 1, 1), nn.Conv2d(1, 54, 1),
        dn.FilterNorm(6, 3, affine="tap", gain=2**0.5),
    )  # fmt: skip
    torch.manual_seed(3)
    layer = dn.DDF2d(6, norm="filter")
    for ours, theirs in zip(layer.parameters(), parts.parameters(), strict=True):
        assert torch.equal(ours, theirs)


KERNELS = {
    "random": lambda: torch.randn(6, 1, 3, 3),
    "small": lambda: 1e-6 * torch.randn(6, 1, 3, 3),
    "average": lambda: torch.full((6, 1, 3, 3), 1 / 9),
    "nearly constant": lambda: 1 + 1e-6 * torch.randn(6, 1, 3, 3),
    "zero": lambda: torch.zeros(6, 1, 3, 3),
}


@torch.no_grad()
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("combine", ["mul", "add"])
@pytest.mark.parametrize("branches", ["both", "channel"])
def test_it_starts_from_a_kernel(kernel, combine, branches):
    layer = dn.DDF2d(6, combine=combine, branches=branches)
    weight = KERNELS[kernel]()
    start_from_kernel(layer.spatial_branch, layer.channel_branch, weight, combine)
    x = torch.randn(3, 6, 8, 7)
    expected = F.conv2d(x, weight, padding=1, groups=6)
    size = weight.abs().max().item()
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5 * size)
    assert layer(x).isfinite().all()


def test_what_starts_from_a_kernel_learns():
    """Every parameter within two steps: the squeeze waits for the weights behind it."""
    layer = dn.DDF2d(6, squeeze_ratio=1.0)
    start_from_kernel(layer.spatial_branch, layer.channel_branch, torch.randn(6, 1, 3, 3), "mul")
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    x, wanted = torch.rand(4, 6, 7, 6), torch.randn(4, 6, 7, 6)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(x) - wanted).square().mean().backward()
        assert all(p.grad.isfinite().all() and p.grad.abs().max() < 1e3 for p in layer.parameters())
        optimizer.step()
    assert [name for name, p in layer.named_parameters() if torch.equal(p, before[name])] == []


def test_a_kernel_of_zeros_learns_its_taps_too():
    layer, weight = dn.DDF2d(4, squeeze_ratio=1.0), torch.randn(4, 1, 3, 3)
    weight[0] = 0
    start_from_kernel(layer.spatial_branch, layer.channel_branch, weight, "mul")
    before = layer.channel_branch[3].bias.detach().clone().view(4, 9)
    x, wanted = torch.rand(4, 4, 7, 6), torch.randn(4, 4, 7, 6)
    assert not layer(x)[:, 0].any()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (layer(x) - wanted).square().mean().backward()
        optimizer.step()
    assert layer.channel_branch[4].scale[0] != 0
    assert not torch.equal(layer.channel_branch[3].bias.view(4, 9)[0], before[0])


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_separable_part_is_the_nearest(groups):
    weight = torch.randn(8, 4 // groups, 3, 3, dtype=torch.float64)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    depth, mixing = separable(weight, groups)
    assert (depth.shape, mixing.shape) == ((4, 1, 3, 3), (8, 4, 1, 1))
    product = mixing * depth.flatten(1).view(1, 4, 3, 3)  # a dense kernel, (O, I, kh, kw)
    dense = torch.zeros(8, 4, 3, 3, dtype=torch.float64)
    for group in range(groups):
        outs, ins = slice(8 // groups * group, 8 // groups * (group + 1)), slice(4 // groups * group, None)
        dense[outs, ins][:, : 4 // groups] = weight[outs]
    y = F.conv2d(F.conv2d(x, depth, padding=1, groups=4), mixing)
    torch.testing.assert_close(y, F.conv2d(x, product, padding=1))
    left = (dense - product).square().sum((0, 2, 3))
    rows = dense.permute(1, 0, 2, 3).flatten(2)
    torch.testing.assert_close(left, torch.linalg.svdvals(rows)[:, 1:].square().sum(1))
