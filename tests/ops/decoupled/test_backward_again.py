"""Every backward pass over a graph that is kept gives the same bits as the first one."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

import decoupled_nets as dn
from decoupled_nets.ops import backend
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.call import Operands
from decoupled_nets.ops.decoupled.functional import measure_conv, respond
from decoupled_nets.ops.decoupled.magnitude import magnitudes

pytestmark = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")
MAGNITUDES = [name for name in magnitudes if magnitudes[name].kernel]
ANGLES = [name for name in angles if angles[name].kernel]
LAYERS = {
    "convolution": (lambda **options: dn.DecoupledConv2d(4, 6, 3, groups=2, **options), (3, 4, 6, 5)),
    "linear": (lambda **options: dn.DecoupledLinear(9, 6, **options), (2, 5, 9)),
}


@pytest.fixture(autouse=True)
def on_kernels():
    with dn.use_backend("cpu"):
        yield


def assert_the_same_bits(out, tensors):
    cotangent = torch.randn_like(out)
    first, *others = (torch.autograd.grad(out, tensors, cotangent, retain_graph=True) for _ in range(3))
    for again in others:
        for got, want in zip(again, first, strict=True):
            assert got.isfinite().all()
            assert torch.equal(got, want)


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("kind", LAYERS)
def test_layers(kind, angle, bias):
    """The radius is a share of the mean of the patches' norms."""
    make, shape = LAYERS[kind]
    for magnitude in MAGNITUDES:
        layer = make(operator=f"{magnitude}-{angle}", bias=bias)
        x = torch.randn(shape, requires_grad=True)
        assert_the_same_bits(layer(x), [x, *layer.parameters()])


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_learned_radius(kind, angle):
    make, shape = LAYERS[kind]
    fixed = [name for name in MAGNITUDES if magnitudes[name].learned is None]
    for magnitude in [name for name in fixed if magnitudes[name].uses_radius]:
        layer = make(operator=f"{magnitude}-{angle}", radius="learned", bias=False)
        x = torch.randn(shape, requires_grad=True)
        assert_the_same_bits(layer(x), [x, *layer.parameters()])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("angle", [name for name in ANGLES if angles[name].learned is None])
def test_a_radius_of_the_mean_of_the_norms(angle, dtype):
    x = torch.randn(2, 3, 6, 5, dtype=dtype, requires_grad=True)
    weight = torch.randn(4, 3, 3, 3, dtype=dtype, requires_grad=True)
    scale = torch.rand(4).add(0.5).requires_grad_()
    call, operands = measure_conv(Operands(x, weight), operator=f"tanh-{angle}")
    radius = scale * operands.norm.mean()
    assert_the_same_bits(respond(call, operands._replace(radius=radius)), [x, weight, scale])


def test_an_output_changed_in_place():
    layer, x = dn.DecoupledConv2d(4, 6, 3, bias=False), torch.randn(2, 4, 6, 5, requires_grad=True)
    assert_the_same_bits(torch.relu_(layer(x)), [x, *layer.parameters()])


def test_the_output_is_changed_between_two_passes(near):
    """The second one must not read what a ReLU has written into the output since."""
    layer, x = dn.DecoupledConv2d(4, 6, 3, bias=False), torch.randn(2, 4, 6, 5, requires_grad=True)
    out = layer(x)
    total = out.sum()
    (first,) = torch.autograd.grad(total, x, retain_graph=True)
    with torch.no_grad():
        out.mul_(3)
    (second,) = torch.autograd.grad(total, x)
    near(second, first)


def test_passes_do_not_keep_the_output():
    layer = dn.DecoupledConv2d(3, 4, 3, bias=False)
    out = layer(torch.randn(2, 3, 8, 8, requires_grad=True))
    storage, total = StorageWeakRef(out.untyped_storage()), out.sum()
    del out
    total.backward(retain_graph=True)
    assert not storage.expired()
    total.backward()
    assert storage.expired()  # though the graph's nodes live on with the sum


def offloaded(layer, x):
    """To memory of their own, as `save_on_cpu` does on other devices than a processor."""
    with saved_tensors_hooks(lambda tensor: tensor.detach().clone(), lambda kept: kept.clone()):
        return layer(x)


def checkpointed(layer, x):
    return checkpoint(layer, x, use_reentrant=False)


@pytest.mark.parametrize("under", [offloaded, checkpointed])
@pytest.mark.parametrize("angle", [name for name in ANGLES if angles[name].invertible])
@pytest.mark.parametrize("kind", LAYERS)
def test_hooks_on_saved_tensors_free_the_output(near, kind, angle, under):
    make, shape = LAYERS[kind]
    layer, x = make(operator=f"spline-{angle}", bias=False).eval(), torch.randn(shape, requires_grad=True)
    storages = []

    def run(given):
        out = layer(given)
        storages.append(StorageWeakRef(out.untyped_storage()))
        return out.exp()

    tensors = [x, *layer.parameters()]
    total = under(run, x).sum()
    assert storages[0].expired()
    assert_the_same_bits(total, tensors)
    plain = torch.autograd.grad(run(x).sum(), tensors)
    for got, want in zip(torch.autograd.grad(total, tensors), plain, strict=True):
        near(got, want)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("under", [offloaded, checkpointed])
def test_hooks_and_an_output_changed_in_place(near, under, inside):
    layer = dn.DecoupledConv2d(4, 6, 3, bias=False).eval()
    x = torch.randn(2, 4, 6, 5, requires_grad=True)
    tensors = [x, *layer.parameters()]
    relu = torch.nn.ReLU(inplace=True)
    out = under(lambda x: relu(layer(x)), x) if inside else relu(under(layer, x))
    assert_the_same_bits(out, tensors)
    expected = torch.autograd.grad(torch.relu(layer(x)).sum(), tensors)
    for got, want in zip(torch.autograd.grad(out.sum(), tensors), expected, strict=True):
        near(got, want)
