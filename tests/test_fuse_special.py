"""What ``dn.fuse`` leaves and says so, weights that something makes, and other libraries' folding."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn
from torch.fx.experimental import optimization
from torch.nn.utils import prune

import decoupled_nets as dn
from decoupled_nets.nn.fused import FusedDecoupledConv, FusedDecoupledLinear


@torch.no_grad()
def randomized(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for t in (module.weight, module.bias, module.running_mean, module.running_var):
                t.uniform_(0.5, 1.5)
    return model.eval()


class ByShape(nn.Module):
    """Cannot be traced, and looks at what lies between the layers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(dn.DecoupledConv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, x):
        if x.shape[-1] < 2:
            raise ValueError("too small")
        y = self.layers[0](x)
        return y + self.layers[1](y)


class OwnForward(dn.DecoupledConv2d):
    def forward(self, x):
        return 3 * super().forward(x)


def test_layers_with_a_forward_of_their_own_stay(near):
    model = randomized(nn.Sequential(OwnForward(3, 3, 1), nn.BatchNorm2d(3)))
    with pytest.warns(
        UserWarning, match=r"leaves as they are: 0 \(OwnForward\), which has a forward of its own"
    ):
        fused = dn.fuse(model)
    assert isinstance(fused[0], OwnForward)
    assert isinstance(fused[1], nn.BatchNorm2d)
    layer = randomized(dn.DecoupledConv2d(3, 3, 1))
    layer.forward = lambda x: x
    with pytest.warns(UserWarning, match="forward of its own"):
        assert dn.fuse(nn.Sequential(layer).eval())[0].forward(3) == 3


def test_what_is_left_is_named():
    def block():
        return nn.Sequential(dn.DecoupledConv2d(3, 3, 1), nn.BatchNorm2d(3)).eval()

    model = block()
    model[0].register_forward_hook(lambda *_: None)
    with pytest.warns(UserWarning, match=r"as they are: 0 \(DecoupledConv2d\), which has hooks"):
        assert isinstance(dn.fuse(model)[0], dn.DecoupledConv2d)
    with pytest.warns(UserWarning, match=r"as they are: the whole \(DecoupledConv2d\), which has hooks"):
        dn.fuse(model[0])
    model = block()
    model[1].register_forward_hook(lambda *_: None)
    with pytest.warns(UserWarning, match=r"as they are: 1 \(BatchNorm2d\), which has hooks"):
        assert isinstance(dn.fuse(model)[1], nn.BatchNorm2d)
    model = block()
    model[1].train()
    with pytest.warns(UserWarning, match=r"1 \(BatchNorm2d\), which is in training mode"):
        assert isinstance(dn.fuse(model)[0], FusedDecoupledConv)
    model = nn.Sequential(*(block() for _ in range(7)))
    for part in model:
        part[0].register_forward_pre_hook(lambda *_: None)
    with pytest.warns(UserWarning, match="; and 2 more$"):
        dn.fuse(model)
    with pytest.warns(
        UserWarning, match="leaves all BatchNorms, as the network cannot be traced: symbolically"
    ):
        dn.fuse(ByShape().eval())


@pytest.mark.parametrize("change", ["prune", "prune twice", "weight_norm", "spectral_norm"])
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weights_that_hooks_make(near, change):
    """As a call would make them, also if none came since their parts were changed."""
    model = nn.Sequential(dn.DecoupledConv2d(3, 6, 3), nn.BatchNorm2d(6), dn.DecoupledLinear(4, 5))
    randomized(model)
    x = torch.randn(2, 3, 6, 6)
    for layer in (model[0], model[2]):
        if change.startswith("prune"):
            prune.random_unstructured(layer, "weight", 0.4)
            if change != "prune":
                prune.ln_structured(layer, "weight", 2, n=2, dim=0)
            layer.weight_orig.data.mul_(torch.rand_like(layer.weight_orig))
        else:
            getattr(nn.utils, change)(layer)
            getattr(layer, "weight_v" if change == "weight_norm" else "weight_orig").data.add_(0.2)
    model.eval()
    fused = dn.fuse(model)
    assert [type(m) for m in fused] == [FusedDecoupledConv, nn.Identity, FusedDecoupledLinear]
    near(fused(x), model(x))
    model(x)  # whose weight has a history from now on
    near(dn.fuse(model)(x), model(x))
    assert dn.fuse(model, inplace=True) is model


def test_layers_that_pad_in_their_own_way_or_make_their_kernels(near):
    for kind in (dn.nn.DecoupledConv2dSame, dn.nn.DecoupledStdConv2d, dn.nn.DecoupledStdConv2dSame):
        model = randomized(nn.Sequential(kind(3, 4, 3, 2), nn.BatchNorm2d(4)))
        fused = dn.fuse(model)
        assert isinstance(fused[0], FusedDecoupledConv)
        assert isinstance(fused[1], nn.Identity)
        for size in ((7, 8), (4, 5)):
            x = torch.randn(2, 3, *size)
            near(fused(x), model(x))
        near(pickle.loads(pickle.dumps(fused))(x), model(x))


def test_calibrated_layers_have_no_norm_in_them(near):
    layer = randomized(dn.DecoupledConv2d(3, 4, 3))
    layer.scale = torch.rand(4) + 0.5
    fused = dn.fuse(layer)
    x = torch.randn(3, 6, 6)
    near(fused(x), layer(x))
    assert "BatchNorm" not in str(fused)
    both = dn.fuse(nn.Sequential(layer, nn.BatchNorm2d(4)).eval())
    assert "with BatchNorm" in str(both[0])
    with pytest.raises(ValueError, match="the BatchNorm in this layer takes batches only"):
        both(x)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear])
def test_folding_of_torch_is_stopped(near, kind):
    """It scales a copy's kernels, which a decoupled response hardly notices."""
    model = nn.Sequential(kind(3, 5, 1) if kind is not nn.Linear else kind(3, 5), nn.BatchNorm1d(5))
    dn.convert(model, linear=True, select=lambda name, module: True)
    model.eval()
    fold = nn.utils.fuse_linear_bn_eval if kind is nn.Linear else nn.utils.fuse_conv_bn_eval
    with pytest.raises(
        TypeError, match=rf"Decoupled\w+ received by torch\.nn\.utils\.{fold.__name__}; .*fuse"
    ):
        fold(*model)
    dn.revert(model)
    fold(*model)
    layer = dn.DecoupledConv2d(3, 4, 1).eval()
    layer.weight = nn.Parameter(layer.weight.detach() * 2)  # whoever else sets a weight may
    if kind is not nn.Conv2d:
        return
    model = nn.Sequential(dn.DecoupledConv2d(3, 5, 1), nn.BatchNorm2d(5)).eval()
    x = torch.randn(2, 3, 4, 4)
    near(optimization.fuse(model)(x), model(x))  # takes torch.nn's own classes only
