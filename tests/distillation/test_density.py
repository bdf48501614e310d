"""What a layer sees: norms and cosines, counted together."""

from __future__ import annotations

import math

import pytest
import torch
from known import X

import decoupled_nets as dn
from decoupled_nets.distillation import density as density_room
from decoupled_nets.distillation.density import TURN, watched


@pytest.mark.parametrize("weighting", [None, "product"])
@pytest.mark.parametrize("groups", [1, 3])
def test_densities_are_those_of_the_data(weighting, groups):
    torch.manual_seed(1)
    layer = dn.DecoupledConv2d(6, 6, 3, groups=groups, operator="power", weighting=weighting).eval()
    x = [torch.rand(3, 6, 8, 8), 0.2 * torch.randn(2, 6, 8, 8)]
    with watched([layer]) as found, torch.no_grad():
        for one in x:
            layer(one)
    (density,) = found.values()
    sizes, turns, norms = [], [], []
    for one in x:
        per = 6 // groups
        patches = one.unfold(2, 3, 1).unfold(3, 3, 1).movedim(1, 3).flatten(0, 2).flatten(2)
        for o in range(6):
            g = o // (6 // groups)
            patch = patches[:, g * per : (g + 1) * per].flatten(1).double()
            w = layer.weight[o].detach().flatten().double()
            norm, size = (patch.square().sum(1) + 1e-4).sqrt(), (w.square().sum() + 1e-4).sqrt()
            turns.append(math.sqrt(len(w)) * (patch @ w) / norm / size)
            sizes.append(norm * size if weighting else norm)
            if o % (6 // groups) == 0:
                norms.append(norm)
    sizes, turns = torch.cat(sizes), torch.cat(turns)
    joint = density.joint(0)
    assert density.count == len(torch.cat(norms))
    assert density.mean_norm == pytest.approx(float(torch.cat(norms).mean()), rel=1e-5)
    edges = [density.size_edges, density.turn_edges]
    expected, _ = torch.histogramdd(torch.stack([sizes, turns], 1), bins=edges)
    assert float((joint - expected / len(sizes)).abs().sum()) < 0.002  # float32 beside float64 at edges
    assert float((density.turns @ joint.sum(0)) - turns.mean()) == pytest.approx(0, abs=TURN)


def test_densities_do_not_depend_on_batches_and_keep_no_value():
    layer = dn.DecoupledConv2d(3, 4, 3, operator="power").eval()
    found = []
    for parts in (X.split(16), X.split(64)):
        with watched([layer]) as seen, torch.no_grad():
            for one in parts:
                layer(one)
        found.append(seen[layer])
    assert found[0].count == found[1].count
    torch.testing.assert_close(found[0].joint(0), found[1].joint(0), atol=1e-4, rtol=0)
    shape = found[0].counts.shape
    with watched([layer]) as seen, torch.no_grad():
        for _ in range(3):
            layer(X)
    assert (seen[layer].count, seen[layer].counts.shape) == (3 * found[0].count, shape)


def test_of_many_patches_some_are_counted_with_every_channel(monkeypatch):
    layer = dn.DecoupledConv2d(3, 4, 3, operator="power").eval()
    found = []
    for most in (2**22, 4 * len(X) * 49 // 5 + 1):
        monkeypatch.setattr(density_room, "MOST", most)
        with watched([layer]) as seen, torch.no_grad():
            layer(X)
        found.append(seen[layer])
    every, some = found
    assert int(some.counts.sum()) == pytest.approx(int(every.counts.sum()) / 5, rel=0.01)
    assert (some.count, some.mean_norm) == (every.count, every.mean_norm)
    for axis in (0, 1):
        shares = [one.joint(0).sum(axis) for one in found]
        low = max(one.first for one in found)
        if axis == 1:
            shares = [one[low - f.first :] for one, f in zip(shares, found, strict=True)]
            shares = [one[: min(map(len, shares))] for one in shares]
        assert float((shares[0] - shares[1]).abs().sum()) < 0.25


def test_a_linear_layer_and_a_conv_of_one_dimension():
    torch.manual_seed(0)
    for layer, x in (
        (dn.DecoupledLinear(12, 6, operator="spline-spline"), torch.rand(40, 12)),
        (dn.DecoupledConv1d(3, 6, 3, operator="spline-spline"), torch.rand(8, 3, 20)),
    ):
        (one,) = dn.distil(layer.train(), [x]).layers
        assert one.operator == "tanh-cos"
        assert one.label == "the network itself"
        assert one.h.explained > 0.99
        assert layer.training
