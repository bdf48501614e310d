"""Joint upsampling in parts: the same map for upsamplers that look around, less memory for all."""

import pytest
import torch

from decoupled_nets.models.joint import JointUpsampler
from decoupled_nets.nn.upsamplers import list_upsamplers
from decoupled_nets.ops.resample import hold


def case(scale: int, upsample: str, height: int, width: int):
    torch.manual_seed(0)
    network = JointUpsampler(scale, upsample=upsample, width=0.125).eval()
    torch.nn.init.normal_(network.tail[-1].weight)
    depth = 40 + 100 * torch.rand(2, 1, height, width)
    return network, torch.cat([torch.rand(2, 3, scale * height, scale * width), hold(depth, scale)], 1)


# The channel filters of dynamic filters are of the mean of all that is given.
@pytest.mark.parametrize("upsample", sorted({*list_upsamplers()} - {"ddf", "ddf-bilinear"}))
@pytest.mark.parametrize(("scale", "tile"), [(2, 11), pytest.param(4, 40, marks=pytest.mark.sweep)])
@torch.no_grad()
def test_parts_make_the_whole(upsample, scale, tile):
    network, x = case(scale, upsample, 47, 45)
    seen = []
    network.guide.register_forward_hook(lambda module, args, out: seen.append(tuple(args[0].shape[2:])))
    whole = network(x)
    assert seen == [(scale * 47, scale * 45)]
    parts = network.tiled(x, tile)
    assert max(max(size) for size in seen[1:]) <= tile + 2 * 16 * scale
    assert len(seen) > 4
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-3)
    assert (whole - network.eval().tiled(x, 10**6)).abs().max() == 0


@torch.no_grad()
def test_dynamic_filters_are_close():
    network, x = case(2, "ddf", 47, 45)
    torch.manual_seed(1)
    for step in network.steps:
        torch.nn.init.ones_(step.up.channel_branch[1].bias)  # before a ReLU
        torch.nn.init.normal_(step.up.channel_branch[4].scale, std=0.3)
    whole, parts = network(x), network.tiled(x, 30)
    smooth = network._start(x)[0]
    assert 0 < (parts - whole).norm() < 0.1 * (whole - smooth).norm()


def test_a_tile_is_no_smaller_than_the_scale():
    network, x = case(4, "nearest", 5, 5)
    with pytest.raises(ValueError, match="tile = 3 received; needed: at least the scale, 4"):
        network.tiled(x, 3)
    with pytest.raises(ValueError, match="multiples of 4"):
        network.tiled(x[..., :-1], 8)
