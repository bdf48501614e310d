"""``dn.fuse``: equal outputs with less to compute, and what it leaves alone."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.nn.fused import FusedDecoupledConv, FusedDecoupledLinear
from decoupled_nets.ops import backend, norms

OPERATORS = [
    "tanh-cos",
    "ball-sqcos",
    "seg-linear",
    "mix-cos",
    "log-sigmoid",
    "linear-cos",
    "test_root-test_cubic",
    "spline-power",
    "power-spline",
]


def randomized(model):
    """Every number of the model somewhere else than at its start."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, t in [*model.named_parameters(), *model.named_buffers()]:
            if not t.is_floating_point():
                continue
            noise = torch.rand(t.shape, generator=generator, dtype=torch.float64).to(t.dtype) + 0.5
            t.copy_(noise * t if "weight" in name and t.dim() > 1 else noise)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d) and m.affine:
            m.weight.data[::2] *= -1
    return model.eval()


def count(model, kind):
    return sum(isinstance(m, kind) for m in model.modules())


@pytest.mark.parametrize("radius", [0.7, "learned", "relative"])
@pytest.mark.parametrize("weighting", [None, "linear", "product", "separate"])
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.filterwarnings("ignore:radius")
def test_outputs_are_equal(near, operator, weighting, radius):
    options = {"operator": operator, "weighting": weighting, "radius": radius, "dtype": torch.float64}
    block = nn.Sequential(
        dn.DecoupledConv2d(3, 6, 3, padding="same", padding_mode="reflect", **options),
        nn.BatchNorm2d(6, dtype=torch.float64),
        nn.ReLU(inplace=True),
        dn.DecoupledConv2d(6, 4, 3, groups=2, stride=2, bias=False, **options),
        nn.BatchNorm2d(4, affine=False, dtype=torch.float64),
        nn.Flatten(),
        dn.DecoupledLinear(4 * 3 * 3, 5, **options),
    )
    randomized(block)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    fused = dn.fuse(block)
    assert count(fused, nn.BatchNorm2d) == 0
    assert count(fused, FusedDecoupledConv) == 2
    assert not list(fused.parameters())
    near(fused(x), block(x))
    cotangent = torch.randn(2, 5, dtype=torch.float64)
    near(*(torch.autograd.grad(m(x), x, cotangent)[0] for m in (fused, block)))
    assert count(block, nn.BatchNorm2d) == 2


def test_networks(near):
    network = randomized(dn.create_model("cnn9", num_classes=4, operator="tanh-cos", width=0.05))
    x = torch.rand(2, 3, 32, 32)
    fused = dn.fuse(network)
    assert count(fused, nn.BatchNorm2d) == 0
    near(fused(x), network(x))


def test_timm_blocks(near):
    from timm.layers import ConvNormAct

    block = ConvNormAct(3, 4, 3)
    block.conv = dn.DecoupledConv2d(3, 4, 3, bias=False)
    randomized(block)
    fused = dn.fuse(block)
    assert count(fused, nn.BatchNorm2d) == 0
    x = torch.randn(2, 3, 6, 6)
    near(fused(x), block(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes(near, dtype):
    block = nn.Sequential(dn.DecoupledConv2d(3, 4, 3), nn.BatchNorm2d(4)).to(dtype)
    randomized(block)
    x = torch.randn(2, 3, 6, 6).to(dtype)
    fused = dn.fuse(block)
    assert fused(x).dtype == dtype
    near(fused(x), block(x))


def test_single_layers_and_in_place(near):
    layer = randomized(dn.DecoupledConv1d(3, 4, 3))
    x = torch.randn(2, 3, 7)
    near(dn.fuse(layer)(x), layer(x))
    assert isinstance(dn.fuse(randomized(dn.DecoupledLinear(3, 4))), FusedDecoupledLinear)
    block = nn.Sequential(layer)
    assert dn.fuse(block, inplace=True) is block
    assert isinstance(block[0], FusedDecoupledConv)


class TwoUses(nn.Module):
    """The convolution's output goes to the norm, and elsewhere."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = dn.DecoupledConv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


class CalledTwice(TwoUses):
    def forward(self, x):
        return self.norm(self.conv(self.norm(self.conv(x))))


class NormFirst(TwoUses):
    def forward(self, x):
        return self.conv(self.norm(x))


class Optional(TwoUses):
    def forward(self, x, guide=None):
        y = self.conv(x)
        return y if guide is None else self.norm(y) * guide


class ByShape(TwoUses):
    """Cannot be traced, and looks at what lies between the layers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(self.conv, self.norm)
        del self.conv, self.norm

    def forward(self, x):
        if x.shape[-1] < 2:
            raise ValueError("too small")
        y = self.layers[0](x)
        return y + self.layers[1](y)


class Counting(TwoUses):
    def forward(self, x):
        self.last = y = self.conv(x)
        return self.norm(y)


def test_tracing_leaves_nothing_behind(near):
    model = randomized(Counting())
    model.register_forward_hook(lambda *_: pytest.fail("a hook saw the tracer"))
    fused = dn.fuse(model)
    assert count(fused, nn.BatchNorm2d) == 0
    assert not hasattr(fused, "last")


def test_weights_under_parametrization(near):
    model = nn.Sequential(dn.DecoupledConv2d(3, 4, 3), nn.BatchNorm2d(4))
    nn.utils.parametrizations.weight_norm(model[0])
    randomized(model)
    fused = dn.fuse(model)
    assert isinstance(fused[0], FusedDecoupledConv)
    x = torch.randn(2, 3, 6, 6)
    near(fused(x), model(x))


def test_a_folded_norm_takes_batches_only():
    block = nn.Sequential(dn.DecoupledConv1d(3, 5, 1), nn.BatchNorm1d(5)).eval()
    with pytest.raises(ValueError, match=r"input of shape \(3, 5\) received; needed: 3 dimensions"):
        dn.fuse(block)(torch.rand(3, 5))


def test_half_precision_afterwards_leaves_what_is_per_kernel_alone():
    fused = dn.fuse(nn.Sequential(dn.DecoupledConv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()).bfloat16()
    kinds = {name: t.dtype for name, t in fused.named_buffers()}
    assert kinds.pop("0.weight") == torch.bfloat16
    assert set(kinds.values()) == {torch.float32}


def test_norms_are_not_computed_any_more(monkeypatch):
    fused = dn.fuse(dn.DecoupledConv2d(3, 4, 3).eval())
    monkeypatch.setattr(norms, "kernel_norm", lambda *_: pytest.fail("computed"))
    with backend.use_backend("composed"):
        fused(torch.rand(1, 3, 4, 4))
    fused(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("kind", [TwoUses, CalledTwice, NormFirst, Optional, ByShape])
@pytest.mark.filterwarnings("ignore:fuse leaves all BatchNorms")
def test_norms_that_cannot_be_folded_stay(near, kind):
    model = randomized(kind())
    fused = dn.fuse(model)
    assert count(fused, nn.BatchNorm2d) == 1
    assert count(fused, FusedDecoupledConv) == 1
    x = torch.randn(2, 3, 4, 4)
    near(fused(x), model(x))


def test_shared_layers_stay_shared(near):
    layer = dn.DecoupledConv2d(3, 3, 1)
    model = randomized(nn.Sequential(layer, nn.BatchNorm2d(3), layer))
    fused = dn.fuse(model)
    assert fused[0] is fused[2]
    assert count(fused, nn.BatchNorm2d) == 1
    x = torch.randn(2, 3, 4, 4)
    near(fused(x), model(x))


class OutOfSight(nn.Module):
    """Calls a layer where a tracer does not look: within a module of torch.nn's."""

    __module__ = "torch.nn.modules.example"

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize("shared", ["conv", "norm"])
def test_a_layer_that_has_another_use_out_of_sight_is_not_folded(near, shared):
    class Both(TwoUses):
        def __init__(self):
            super().__init__()
            self.other = OutOfSight(getattr(self, shared))

        def forward(self, x):
            return self.norm(self.conv(x)) + self.other(x)

    model = randomized(Both())
    fused = dn.fuse(model)
    assert count(fused, nn.BatchNorm2d) == 1
    x = torch.randn(2, 3, 4, 4)
    near(fused(x), model(x))


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"training mode received; needed: model\.eval\(\)"):
        dn.fuse(dn.DecoupledConv2d(3, 3, 1))


def test_fused_networks_can_be_copied_saved_compiled_and_exported(near):
    model = nn.Sequential(dn.DecoupledConv2d(3, 4, 3), nn.BatchNorm2d(4))
    fused = dn.fuse(randomized(model))
    x = torch.randn(2, 3, 6, 6)
    expected = fused(x)
    near(copy.deepcopy(fused)(x), expected)
    near(pickle.loads(pickle.dumps(fused))(x), expected)
    near(torch.compile(fused, fullgraph=True, backend="aot_eager")(x), expected)
    program = torch.export.export(fused, (x,))
    near(program.module()(x), expected)
    targets = [str(n.target) for n in program.graph.nodes]
    assert not any("batch_norm" in t for t in targets)
    reduced = [n.args[0] for n in program.graph.nodes if "square" in str(n.target)]
    assert len(reduced) == 1  # the input's, for the patch norms, and no longer the weight's
