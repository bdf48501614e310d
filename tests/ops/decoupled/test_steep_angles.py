"""The angles ``linear`` and ``sigmoid`` on the compiled kernels: everywhere between -1 and 1, and beyond."""

from __future__ import annotations

import math

import pytest
import torch
from kernel_cases import arrange
from torch import nn

import decoupled_nets as dn
from decoupled_nets.ops import backend
from decoupled_nets.ops.decoupled import composed, derivative
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.functional import decoupled_conv
from decoupled_nets.ops.decoupled.reference import decoupled_conv_reference

pytestmark = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")
ops = torch.ops.decoupled_nets
STEEP = [name for name in angles if angles[name].steep]
SHARPNESSES = (0.02, 0.3, 2.0)


def sharpness(angle, k, like):
    return torch.full((1, 1), k, dtype=like.dtype) if angles[angle].uses_k else None


def of_cosines(cosine, angle, k, from_output=False):
    """g, its derivative by the cosine and that by k, as the kernels give them, for h = ‖x‖ = 1."""
    z, one = cosine.view(1, 1, -1), torch.ones(1, 1, cosine.numel(), dtype=cosine.dtype)
    norms, k = (one, torch.ones(1, dtype=cosine.dtype)), sharpness(angle, k, cosine)
    g = ops.epilogue(z, *norms, None, None, None, None, k, "sphere", angle, 1.0, 1.0)
    found = ops.epilogue_backward(
        torch.ones_like(z), g if from_output else z, *norms, None, None, None, k, "sphere", angle, 1.0, 1.0,
        from_output,
    )  # fmt: skip
    return g.flatten(), found[0].flatten(), found[7]


def exactly(cosine, angle, k):
    """The same in float64, by the turn from 90°."""
    turn, right = torch.asin(cosine.double()), torch.tensor(math.pi / 2, dtype=torch.float64)
    slope = ((1 - cosine.double()) * (1 + cosine.double())).rsqrt()
    if angle == "linear":
        return turn / right, slope / right, None
    width = 1 / (2 * k)
    top, up, flat = (right * width).tanh(), (turn * width).tanh(), (turn * width).cosh() ** -2
    by_width = (turn * flat - up * right * (right * width).cosh() ** -2 / top) / top
    return up / top, width * flat / top * slope, (by_width * -2 * width**2).sum()


def cosines(dtype):
    """From 0 to the last number before ±1 that asin takes as it is, dense at both ends."""
    unit = torch.finfo(dtype).eps
    small, near_one = torch.logspace(-30, -1, 400, dtype=torch.float64), 1 - torch.logspace(
        math.log10(unit), -1, 400, dtype=torch.float64
    )  # fmt: skip
    some = torch.cat([torch.zeros(1), torch.linspace(0, 0.9, 777, dtype=torch.float64), small, near_one])
    some = some.to(dtype)
    some = some[some <= 1 - unit]
    return torch.cat([some, -some])


@pytest.mark.parametrize("k", SHARPNESSES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("angle", STEEP)
def test_values_and_slopes_to_a_few_units_in_the_last_place(angle, dtype, k):
    """Not only where the angle is far from 0: the slope's error is relative, too."""
    x, unit = cosines(dtype), torch.finfo(dtype).eps
    g, slope, by_k = of_cosines(x, angle, k)
    exact, exact_slope, exact_by_k = exactly(x, angle, k)
    # A width of 1/(2k) multiplies the rounding of the turn, in the exponent of a tanh near 1.
    slack = 16 * unit * max(1.0, 2 / k if angle == "sigmoid" else 1.0)
    torch.testing.assert_close(g.double(), exact, rtol=16 * unit, atol=0)
    torch.testing.assert_close(slope.double(), exact_slope, rtol=slack, atol=1e-300)
    if angle == "sigmoid":
        torch.testing.assert_close(by_k.double().sum(), exact_by_k, rtol=0, atol=slack * len(x))
        small = torch.tensor([0.3], dtype=dtype)
        found, wanted = of_cosines(small, angle, k)[2].double().sum(), exactly(small, angle, k)[2]
        torch.testing.assert_close(found, wanted, rtol=4 * slack, atol=1e-30)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("angle", STEEP)
def test_the_ends_are_those_of_the_composed_path(angle, dtype):
    """Values are bounded, slopes finite and never 0, also where rounding carried the cosine beyond ±1."""
    unit = torch.finfo(dtype).eps
    ends = torch.tensor([1 - unit, 1 - unit / 2, 1.0, 1 + unit, 1.004, 1.5])
    z = torch.cat([ends, -ends]).to(dtype).view(1, 1, -1).requires_grad_()
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    norm, k = torch.ones(z.shape, dtype=wide), sharpness(angle, 0.3, torch.ones(1, dtype=wide))
    others = norm, norm.new_ones(1), None, None, None, None, k, "linear", angle, 1.0, 1.0
    expected = composed.epilogue(z, *others)
    (wanted,) = torch.autograd.grad(expected.sum(), z)
    found = ops.epilogue(z.detach(), *others)
    slope = ops.epilogue_backward(torch.ones_like(z), z.detach(), *others[:4], *others[5:], False)[0]
    exact = {torch.float64: 1e-13, torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(found, expected.detach(), rtol=exact, atol=0)
    assert (found.abs() <= 1).all()
    # -c² + 1, of which autograd takes the root, has few digits there.
    torch.testing.assert_close(slope, wanted, rtol=0.3 if dtype != torch.bfloat16 else exact, atol=0)
    assert (slope.isfinite() & (slope > 0)).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_slopes_from_the_output_are_as_good(dtype):
    """A turn that lies near 90° gives its cosine to more digits than the cosine itself would."""
    x, unit = cosines(dtype), torch.finfo(dtype).eps
    _, slope, _ = of_cosines(x, "linear", 1.0, from_output=True)
    exact = exactly(x, "linear", 1.0)[1]
    error = ((slope.double() - exact) / exact).abs()
    assert (error <= 8 * unit * exact).all()
    assert error.max() < 4 * math.sqrt(unit)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("operator", ["tanh-linear", "ball-sigmoid", "seg-linear"])
def test_a_layer_and_the_reference(near, operator, last):
    layer = dn.DecoupledConv2d(3, 5, (3, 2), padding=1, operator=operator, radius="learned", bias=False)
    layer = layer.double()
    with torch.no_grad():
        layer.radius.copy_(torch.linspace(0.7, 2.2, 5))
    x = arrange(torch.randn(2, 3, 7, 9, dtype=torch.float64), last).requires_grad_()
    out = layer(x)
    assert dn.last_backend().backend == "cpu"
    leaves = [x, *layer.parameters()]
    radius = layer.radius.square() + 1e-4
    expected = decoupled_conv_reference(x, layer.weight, None, padding=1, operator=operator, radius=radius)
    near(out, expected)
    grad = torch.randn_like(out)
    for got, want in zip(
        torch.autograd.grad(out, leaves, grad), torch.autograd.grad(expected, leaves, grad), strict=True
    ):
        near(got, want)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("given", ["number", "one", "each"])
def test_sharpness_as_a_number_for_all_and_for_each_channel(near, given, groups):
    x, weight = torch.randn(2, 4, 6, 5, dtype=torch.float64), torch.randn(6, 4 // groups, 3, 3).double()
    k = {"number": 0.4, "one": torch.tensor(0.4), "each": torch.linspace(0.1, 0.9, 6)}[given]
    k = k.double().requires_grad_() if isinstance(k, torch.Tensor) else k
    leaves = [x.requires_grad_(), weight.requires_grad_(), *([] if given == "number" else [k])]
    options = {"operator": "tanh-sigmoid", "groups": groups, "k": k, "radius": 2.0}
    results = []
    for fn in (decoupled_conv, decoupled_conv_reference):
        out = fn(x, weight, **options)
        results.append((out, *torch.autograd.grad(out.square().sum() + out.sum(), leaves)))
    assert dn.last_backend().backend == "cpu"
    for got, want in zip(*results, strict=True):
        near(got, want)


def test_a_learned_sharpness_that_is_not_given_is_asked_for():
    operator = dn.Operator("tanh", "sigmoid", k="learned")
    with pytest.raises(ValueError, match="pass its value as k="):
        decoupled_conv(torch.randn(1, 2, 3, 3), torch.randn(2, 2, 1, 1), operator=operator)


@pytest.mark.parametrize(("operator", "maps"), [("tanh-linear", 0), ("tanh-sigmoid", 1)])
def test_linear_keeps_the_output_alone(operator, maps):
    """A sigmoid is flat at its ends: z does not follow from the output."""
    layer = dn.DecoupledConv2d(32, 64, 3, padding=1, bias=False, operator=operator)
    x, seen = torch.randn(4, 32, 16, 16, requires_grad=True), {}

    def pack(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = layer(x)
    known = {t.untyped_storage().data_ptr() for t in (x, layer.weight)}
    kept = sum(size for at, size in seen.items() if at not in known)
    size = out.untyped_storage().nbytes()
    assert kept < 1.05 * size
    out_is_kept = out.untyped_storage().data_ptr() in seen
    assert out_is_kept == (maps == 0)


@pytest.mark.parametrize("operator", ["tanh-linear", "tanh-sigmoid"])
def test_gradients_of_gradients_and_an_output_changed_in_place(near, operator):
    layer = dn.DecoupledConv2d(3, 4, 3, bias=False, operator=operator, dtype=torch.float64)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)

    def twice():
        (first,) = torch.autograd.grad(nn.functional.relu_(layer(x)).sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [x, layer.weight])

    found = twice()
    with backend.use_backend("composed"):
        expected = twice()
    for got, want in zip(found, expected, strict=True):
        near(got, want)


def test_a_part_of_the_images_at_a_time(near, monkeypatch):
    layer = dn.DecoupledConv2d(
        3, 4, 3, operator=dn.Operator("tanh", "sigmoid", k="learned"), radius="learned"
    )
    x = torch.randn(5, 3, 6, 6)
    whole = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    monkeypatch.setattr(derivative, "_FEW_IMAGES", 2 * 4 * 4 * 4)
    for got, want in zip(
        torch.autograd.grad(layer(x).square().sum(), list(layer.parameters())), whole, strict=True
    ):
        near(got, want)
