"""``convert_upsampling`` in mixed precision: types of parameters and of maps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pyramids import Calls
from torch import nn

import decoupled_nets as dn

X = torch.rand(1, 3, 16, 16)


def enlarged(m, x):
    return F.interpolate(x, scale_factor=2)


def in_half(m, x):
    with torch.autocast("cpu", torch.bfloat16):
        return F.interpolate(m.first(x[:, :3]), scale_factor=2).float()


def half_before(m, x):
    with torch.autocast("cpu", torch.bfloat16):
        x = m.first(x[:, :3])
    return F.interpolate(x, scale_factor=2).float()


@pytest.mark.parametrize("name", ["ddf", "dysample"])
@pytest.mark.parametrize("function", [enlarged, in_half, half_before])
@pytest.mark.parametrize("around", [False, True])
def test_parameters_are_in_the_type_of_those_around(function, name, around):
    """Whether the network or the caller runs in mixed precision; so they are under a module without any."""
    model = Calls(function).eval()
    with torch.autocast("cpu", torch.bfloat16, enabled=around):
        assert dn.convert_upsampling(model, X, name).converted
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    model(X).mean().backward()
    assert all(p.grad is not None for p in model.upsamplers.parameters())


def test_a_module_without_parameters_takes_the_networks_type():
    model = Calls(lambda m, x: m.up(x.float()).to(x.dtype), up=nn.Upsample(scale_factor=2)).double()
    dn.convert_upsampling(model, X.double(), "dysample")
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    seen = []
    model.up.register_forward_hook(lambda module, args, out: seen.append((args[0].dtype, out.dtype)))
    model(X.double())
    assert seen == [(torch.float32, torch.float32)]
