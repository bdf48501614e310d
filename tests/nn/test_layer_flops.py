"""``torch.utils.flop_counter``: a decoupled layer counts as a plain one, and little more on the kernels."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from layer_cases import LAYERS, make, plain, sample
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import decoupled_nets as dn
from decoupled_nets.ops import backend
from decoupled_nets.ops.backend import use_backend


def flops(layer, x, backward=True):
    with FlopCounterMode(display=False) as counter:
        out = layer(x)
        if backward:
            out.backward(torch.ones_like(out))
    return counter.get_total_flops()


@pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")
@pytest.mark.parametrize("radius", ["relative", 1.5])
def test_on_the_kernels(radius):
    layer = dn.DecoupledConv2d(128, 128, 3, padding=1, bias=False, radius=radius)
    twin = nn.Conv2d(128, 128, 3, padding=1, bias=False)
    x = torch.randn(1, 128, 8, 8, requires_grad=True)
    convolution = 2 * x.numel() * 9 * 128
    forward, plain_forward = flops(layer, x, False), flops(twin, x, False)
    assert plain_forward == convolution
    # Two operations for every element of the input, of the weight and of the output.
    assert forward - plain_forward == 4 * x.numel() + 2 * layer.weight.numel()
    # The weight's count once, here for 64 positions only.
    assert forward < 1.02 * plain_forward
    both, plain_both = flops(layer, x), flops(twin, x)
    assert plain_both == 3 * convolution
    # Going back, two for the input and the weight and four for the output.
    assert both - plain_both == 10 * x.numel() + 4 * layer.weight.numel()
    assert both < 1.02 * plain_both


@pytest.mark.parametrize("name", LAYERS)
def test_composed(name):
    """Elementwise operations count as nothing, as everywhere in torch."""
    layer, twin = make(name), plain(name)
    x = sample(name, 2).requires_grad_()
    with use_backend("composed") if backend.status.loaded else nullcontext():
        for backward in (False, True):
            assert flops(layer, x, backward) == flops(twin, x, backward) > 0
