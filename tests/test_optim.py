"""Weight projection, weighted gradients, orthogonality, parameter groups."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

import decoupled_nets as dn


def stack(weighting: str | None = None) -> nn.Sequential:
    return nn.Sequential(
        dn.DecoupledConv2d(3, 8, 3, weighting=weighting, dtype=torch.float64),
        nn.BatchNorm2d(8, dtype=torch.float64),
        nn.Conv2d(8, 8, 3, dtype=torch.float64),
        dn.DecoupledConv2d(8, 4, 3, weighting=weighting, operator="ball-sqcos", dtype=torch.float64),
    ).eval()


def grow(net: nn.Module, factor: float) -> None:
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, dn.DecoupledConv2d):
                layer.weight.mul_(factor)


def test_projection_gives_unit_norm_and_keeps_the_response() -> None:
    net, x = stack(), torch.rand(2, 3, 9, 9, dtype=torch.float64)
    grow(net, 30.0)
    before, plain = net(x), net[2].weight.clone()
    assert dn.project_weights_(net) is net
    for layer in (net[0], net[3]):
        norm = layer.weight.flatten(1).norm(dim=1)
        torch.testing.assert_close(norm, torch.ones_like(norm), rtol=0, atol=1e-5)
    torch.testing.assert_close(net(x), before, rtol=1e-4, atol=1e-6)
    assert torch.equal(net[2].weight, plain)


@pytest.mark.parametrize("weighting", ["linear", "product", "separate"])
def test_weighted_layers_are_left_alone(weighting: str) -> None:
    net = stack(weighting)
    before = copy.deepcopy(net.state_dict())
    dn.project_weights_(net)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert len(dn.weighted_gradients(net)) == 0


def gradients(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    net.zero_grad()
    net(x).square().sum().backward()
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


def test_weighted_gradients_multiply_by_the_norm_and_can_be_removed() -> None:
    net, x = stack(), torch.rand(2, 3, 9, 9, dtype=torch.float64)
    grow(net, 5.0)
    plain = gradients(net, x)
    hooks = dn.weighted_gradients(net)
    assert len(hooks) == 2
    weighted = gradients(net, x)
    hooks.remove()
    assert len(hooks) == 0
    for again, first in zip(gradients(net, x), plain, strict=True):
        assert torch.equal(again, first)
    kernels = [id(net[0].weight), id(net[3].weight)]
    for p, a, b in zip(net.parameters(), weighted, plain, strict=True):
        if id(p) in kernels:
            norm = (p.flatten(1).square().sum(1) + 1e-4).sqrt().view(-1, 1, 1, 1)
            torch.testing.assert_close(a, b * norm)
        else:
            assert torch.equal(a, b)


def test_weighted_gradients_do_not_depend_on_the_kernels_size() -> None:
    net, x = stack(), torch.rand(2, 3, 9, 9, dtype=torch.float64)
    dn.weighted_gradients(net)
    small = gradients(net, x)
    grow(net, 100.0)
    for a, b in zip(gradients(net, x), small, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-6)


def test_hooks_keep_no_layer_alive() -> None:
    layer = dn.DecoupledConv2d(3, 8, 3)
    hooks = dn.weighted_gradients(layer)
    reference = weakref.ref(layer)
    del layer
    gc.collect()
    assert reference() is None
    hooks.remove()


def test_orthogonality_against_the_formula() -> None:
    layer = dn.DecoupledConv2d(2, 3, 2, dtype=torch.float64)
    w = layer.weight.detach().flatten(1)
    unit = w / (w.square().sum(1, keepdim=True) + 1e-4).sqrt()
    expected = 0.5 * (unit @ unit.T - torch.eye(3, dtype=torch.float64)).square().sum()
    penalty = dn.orthogonality(nn.Sequential(layer, layer))
    torch.testing.assert_close(penalty.detach(), expected)
    penalty.backward()
    assert layer.weight.grad is not None


def test_orthogonality_is_within_groups_and_exact_under_autocast() -> None:
    layer = dn.DecoupledConv2d(4, 4, 3, groups=4)
    assert dn.orthogonality(layer) < 1e-6
    full = dn.DecoupledConv2d(4, 4, 1)
    with torch.no_grad():
        full.weight.copy_(torch.eye(4).view(4, 4, 1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert dn.orthogonality(full) < 1e-6


def test_orthogonality_needs_a_decoupled_layer() -> None:
    with pytest.raises(ValueError, match="without decoupled layers received; needed: at least one"):
        dn.orthogonality(nn.Conv2d(3, 8, 3))


def test_parameter_groups_spare_radii_vectors_and_free_kernels() -> None:
    net = stack()
    decayed, spared = dn.parameter_groups(net, 0.1)
    assert [id(p) for p in decayed["params"]] == [id(net[2].weight)]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(spared["params"]) == len(list(net.parameters()))
    decayed, _ = dn.parameter_groups(net, 0.1, decay_kernels=True)
    assert len(decayed["params"]) == 3
    decayed, _ = dn.parameter_groups(stack("linear"), 0.1)
    assert len(decayed["params"]) == 3


def test_parameter_groups_leave_out_frozen_parameters() -> None:
    net = stack()
    net[2].requires_grad_(False)
    (spared,) = dn.parameter_groups(net, 0.1)
    assert spared["weight_decay"] == 0.0
