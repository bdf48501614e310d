"""Runs of a converted network that differ from the noted one, or are run again for their gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pyramids import Block, Calls
from torch import nn
from torch.utils.checkpoint import checkpoint

import decoupled_nets as dn


def test_runs_that_differ_are_refused_by_name():
    def maybe(m, x):
        for _ in range(m.times):
            x = F.interpolate(x, scale_factor=2)
        return x[:, :8]

    Calls.times = 1
    inner = Calls(maybe)
    model = nn.Sequential(nn.Identity(), inner)
    x = torch.rand(1, 3, 8, 8)
    dn.convert_upsampling(model, x)
    try:
        for times, found in ((2, "more than 1"), (0, "0")):
            inner.times = times
            with pytest.raises(ValueError, match=f"^1: {found} calls of F.interpolate in this run; needed"):
                model(x)
        inner.times = 1
        model(x)
    finally:
        del Calls.times
    wide = Block(8)
    dn.convert_upsampling(wide, (torch.rand(1, 8, 4, 4), torch.rand(1, 8, 8, 8)))
    with pytest.raises(ValueError, match=r"^the network: call 1 of F\.interpolate with 9 channels received"):
        wide(torch.rand(1, 9, 4, 4), torch.rand(1, 8, 8, 8))
    with pytest.raises(ValueError, match=r"^the network: call 1 of F\.interpolate has no map of 8×8"):
        wide(torch.rand(1, 8, 4, 4), torch.rand(1, 7, 8, 8))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant):
    """Of whole modules they work; a part that would be run again without its upsampler is refused."""

    def part(m, x):
        return checkpoint(lambda y: F.interpolate(y, scale_factor=2), x, use_reentrant=reentrant)

    model = Calls(part).train()
    dn.convert_upsampling(model, torch.rand(1, 3, 8, 8))
    found = "without gradients, in training" if reentrant else "in a part that is checkpointed"
    with pytest.raises(ValueError, match=f"^the network: call 1 received {found}; needed: gradients"):
        model(torch.rand(1, 3, 8, 8))
    with torch.no_grad():
        model.eval()(torch.rand(1, 3, 8, 8))
    whole = Calls(lambda m, x: checkpoint(m.up, x, use_reentrant=reentrant), up=nn.Upsample(scale_factor=2))
    dn.convert_upsampling(whole.train(), torch.rand(1, 3, 8, 8))
    whole(torch.rand(1, 3, 8, 8)).sum().backward()
    assert whole.up.upsamplers[0].guide.weight.grad is not None


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize(("reentrant", "mode"), [(False, "train"), (False, "eval"), (True, "train")])
def test_no_gradients_are_those_of_what_was_replaced(reentrant, mode):
    """`bilinear` keeps for its gradients what bicubic interpolation keeps: no check of torch's sees it."""

    def part(m, x):
        return checkpoint(
            lambda y: F.interpolate(y, scale_factor=2, mode="bicubic"), x, use_reentrant=reentrant
        )

    model, x = Calls(part), torch.rand(1, 3, 8, 8, requires_grad=True)
    dn.convert_upsampling(model, x.detach(), "bilinear")
    getattr(model, mode)()
    with pytest.raises(ValueError, match="checkpoint the whole module, or leave it out by select="):
        model(x)
    inside = nn.Sequential(Calls(lambda m, x: F.interpolate(x, scale_factor=2, mode="bicubic")))
    dn.convert_upsampling(inside.train(), x.detach(), "bilinear")
    wanted = torch.autograd.grad(inside(x).square().sum(), x)[0]
    found = torch.autograd.grad(checkpoint(inside, x, use_reentrant=False).square().sum(), x)[0]
    assert torch.equal(found, wanted)
    with torch.autograd.graph.save_on_cpu():
        assert torch.equal(torch.autograd.grad(inside(x).square().sum(), x)[0], wanted)
