"""Kernel norms of constant weights are computed once, and again after any change."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

import decoupled_nets as dn
from decoupled_nets.ops.decoupled import norm_cache
from decoupled_nets.ops.norms import kernel_norm


@pytest.fixture
def computed(monkeypatch):
    """A list that grows with every computation of kernel norms."""
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return kernel_norm(*arguments)

    monkeypatch.setattr(norm_cache, "kernel_norm", counted)
    return calls


@pytest.fixture(params=["tanh-cos", "tanh-linear"], ids=["kernels", "composed"])
def layer(request):
    return dn.DecoupledConv2d(3, 4, 3, operator=request.param, radius="learned").eval()


def double_in_place(layer):
    with torch.no_grad():
        layer.weight.mul_(-2)


def double_data(layer):
    layer.weight.data.mul_(-2)


def double_one_kernel_by_numpy(layer):
    layer.weight.detach().numpy()[1] *= -2


def add_to_one_tap(layer):
    layer.weight.data[..., 0, 1].add_(3)


def add_to_one_element(layer):
    layer.weight.data[2, 1, 2, 0] += 9


def new_data(layer):
    layer.weight.data = layer.weight.data * -2


def new_parameter(layer):
    layer.weight = nn.Parameter(layer.weight.detach() * -2)


def load(layer):
    layer.load_state_dict({n: t * -2 for n, t in layer.state_dict().items()})


def load_assigned(layer):
    layer.load_state_dict({n: t * -2 for n, t in layer.state_dict().items()}, assign=True)


def train_a_step(layer):
    layer.train()(torch.rand(1, 3, 4, 4)).sum().backward()
    torch.optim.SGD(layer.parameters(), lr=1.0).step()
    layer.eval()


CHANGES = [
    double_in_place, double_data, double_one_kernel_by_numpy, add_to_one_tap, add_to_one_element,
    new_data, new_parameter, load, load_assigned,
    train_a_step,
]  # fmt: skip


@torch.no_grad()
def test_norms_are_computed_once(layer, computed):
    x = torch.rand(2, 3, 5, 5)
    first = layer(x)
    assert torch.equal(layer(x), first)
    assert len(computed) == 1


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_weight_is_noticed(near, layer, change, memory_format):
    layer.to(memory_format=memory_format)
    x = torch.rand(2, 3, 5, 5)
    with torch.no_grad():
        before = layer(x)
    change(layer)
    fresh = dn.DecoupledConv2d(3, 4, 3, operator=layer.operator, radius="learned").eval()
    fresh.load_state_dict(layer.state_dict())
    with torch.no_grad():
        after = layer(x)
        near(after, fresh(x))
    assert not torch.allclose(before, after, rtol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("change", [double_one_kernel_by_numpy, add_to_one_tap])
def test_changes_of_a_large_weight(near, change):
    layer = dn.DecoupledConv2d(64, 128, 3, radius="learned").eval()
    x = torch.rand(1, 64, 5, 5)
    layer(x)
    change(layer)
    fresh = dn.DecoupledConv2d(64, 128, 3, radius="learned").eval()
    fresh.load_state_dict(layer.state_dict())
    near(layer(x), fresh(x))


def test_fake_norms_are_not_remembered(layer):
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        layer(torch.rand(1, 3, 4, 4))
    assert torch.is_tensor(layer(torch.rand(1, 3, 4, 4)).detach().numpy().sum() + torch.zeros(()))


def test_training_computes_norms_every_time(layer, computed):
    layer(torch.rand(1, 3, 4, 4))
    layer(torch.rand(1, 3, 4, 4))
    assert len(computed) == 2


def test_norms_found_in_inference_mode_serve_autograd(layer):
    layer.requires_grad_(False)
    x = torch.rand(1, 3, 4, 4)
    with torch.inference_mode():
        layer(x)
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None


def test_a_layer_made_in_inference_mode_works():
    with torch.inference_mode():
        layer = dn.DecoupledConv2d(3, 4, 3).eval()
        assert layer(torch.rand(1, 3, 4, 4)).isfinite().all()


@torch.no_grad()
def test_nothing_is_kept_for_layers_that_are_gone(layer):
    layer(torch.rand(1, 3, 4, 4))
    known = len(norm_cache._remembered)
    assert known >= 1
    del layer.weight
    gc.collect()
    assert len(norm_cache._remembered) == known - 1
