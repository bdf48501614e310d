"""A layer's output is let go of when nobody needs it any more."""

from __future__ import annotations

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef

import decoupled_nets as dn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("backward", [True, False])
def test_outputs_are_freed(bias, inplace, backward):
    layer = dn.DecoupledConv2d(3, 4, 3, bias=bias)
    out = layer(torch.randn(2, 3, 8, 8, requires_grad=True))
    storage = StorageWeakRef(out.untyped_storage())
    last = out.relu_() if inplace else out.relu()
    if backward:
        last.sum().backward()
    del out, last
    assert storage.expired()


@pytest.mark.parametrize("inplace", [True, False])
def test_backward_twice(near, inplace):
    layer, x = dn.DecoupledConv2d(3, 4, 3, bias=False), torch.randn(2, 3, 8, 8, requires_grad=True)
    out = layer(x)
    out = torch.relu_(out) if inplace else out
    first, second = (torch.autograd.grad(out.sum(), x, retain_graph=True)[0] for _ in range(2))
    near(second, first)
