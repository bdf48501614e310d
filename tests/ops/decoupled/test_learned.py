"""Learned halves of operators: values and gradients against the reference, limits, starts, and kernels."""

from __future__ import annotations

import itertools

import pytest
import torch
from decoupled_cases import doubled, make_tensors, outcome

import decoupled_nets as dn
from decoupled_nets.ops import backend
from decoupled_nets.ops.decoupled.functional import decoupled_conv, decoupled_linear
from decoupled_nets.ops.decoupled.operator import WEIGHTINGS, resolve_operator
from decoupled_nets.ops.decoupled.reference import decoupled_conv_reference

OURS = ("power", "spline")
PAIRS = [
    pair
    for pair in itertools.product((*OURS, "tanh", "linear", "seg"), (*OURS, "cos", "sqcos"))
    if set(pair) & set(OURS)
]
needs_binary = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")


def case(operator, rows, groups, dtype=torch.float64, bias=True):
    """Tensors of a convolution with one radius, and parameters that are not the start's."""
    tensors = make_tensors(groups=groups, channels=6, out=12, dtype=dtype)
    for name in ("alpha", "beta", "k", *(() if bias else ("bias",))):
        del tensors[name]
    tensors["radius"] = torch.tensor(2.3, dtype=dtype, requires_grad=True)
    generator = torch.Generator().manual_seed(4)
    for name, start in zip(("h_parameters", "g_parameters"), operator.start_parameters(), strict=True):
        if start is not None:
            factor = 0.7 + 0.6 * torch.rand(rows, len(start), generator=generator, dtype=torch.float64)
            tensors[name] = (start * factor).to(dtype).requires_grad_()
    return tensors


@pytest.mark.parametrize("path", ["composed", pytest.param("cpu", marks=needs_binary)])
@pytest.mark.parametrize(("rows", "groups"), [(1, 1), (2, 1), (3, 3), (1, 3), (6, 2)])
@pytest.mark.parametrize(("magnitude", "angle"), PAIRS)
def test_values_and_gradients(near, magnitude, angle, rows, groups, path):
    weighting = [None, "linear", "separate"][(rows + len(angle)) % 3]
    operator = dn.Operator(magnitude, angle, alpha=1.3)
    for dtype in (torch.float64, torch.float32):
        tensors = case(operator, rows, groups, dtype, bias=rows != 2)
        options = {"operator": operator, "weighting": weighting, "groups": groups, "padding": 1}
        expected = outcome(decoupled_conv_reference, doubled(tensors), **options)
        with backend.use_backend(path):
            actual = outcome(decoupled_conv, tensors, **options)
        assert dn.last_backend().backend == path
        for name, value in expected.items():
            near(actual[name], value, dtype, name)


@needs_binary
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("magnitude", "angle"), [("power", "power"), ("spline", "spline"), ("tanh", "spline")]
)
def test_kernels_in_bfloat16_agree_with_the_composed_path(magnitude, angle, last):
    operator = dn.Operator(magnitude, angle)
    tensors = case(operator, 2, 1)
    found = []
    for path in ("cpu", "composed"):
        own = {
            name: t.detach()
            .to(torch.bfloat16 if name in ("input", "weight") else torch.float32)
            .requires_grad_()
            for name, t in tensors.items()
        }
        if last:
            own["input"] = own["input"].detach().to(memory_format=torch.channels_last).requires_grad_()
        with backend.use_backend(path):
            found.append(outcome(decoupled_conv, own, operator=operator))
    for name, value in found[1].items():
        scale = value.abs().max().item()
        torch.testing.assert_close(found[0][name].float(), value.float(), rtol=0.05, atol=0.03 * scale)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_product_of_norms_takes_the_composed_path(near, weighting):
    operator = dn.Operator("spline", "cos")
    tensors = case(operator, 2, 1)
    actual = outcome(decoupled_conv, tensors, operator=operator, weighting=weighting)
    if backend.status.loaded:
        assert dn.last_backend().backend == ("composed" if weighting == "product" else "cpu")
    expected = outcome(decoupled_conv_reference, tensors, operator=operator, weighting=weighting)
    for name, value in expected.items():
        near(actual[name], value, name=name)


@pytest.mark.parametrize("name", ["power", "spline-spline", "tanh-spline"])
@pytest.mark.parametrize("rows", [1, 3])
def test_linear_is_a_convolution_of_one_pixel(near, name, rows):
    operator = resolve_operator(name)
    tensors = case(operator, rows, 1)
    tensors["weight"] = tensors["weight"].detach()[:, :, :1, :1].requires_grad_()
    tensors["input"] = tensors["input"].detach()[:, :, :1, :1].requires_grad_()
    expected = outcome(decoupled_conv, tensors, operator=operator)

    def linear(input, weight, **options):
        return decoupled_linear(input.flatten(1), weight.flatten(1), **options)[..., None, None]

    for key, value in outcome(linear, tensors, operator=operator).items():
        near(value, expected[key], name=key)


@needs_binary
@pytest.mark.parametrize("name", ["power", "spline-spline"])
def test_gradients_that_are_to_be_differentiated_are_the_same(near, name):
    operator = resolve_operator(name)
    tensors = case(operator, 2, 1)
    out = decoupled_conv(**tensors, operator=operator)
    cotangent = torch.randn_like(out)
    once = torch.autograd.grad(out, list(tensors.values()), cotangent, retain_graph=True)
    again = torch.autograd.grad(out, list(tensors.values()), cotangent, create_graph=True)
    for key, got, want in zip(tensors, again, once, strict=True):
        assert got.requires_grad or key == "bias"
        near(got, want, name=key)


@pytest.mark.parametrize("angle", ["cos", "sqcos"])
def test_a_magnitude_that_vanishes_loses_no_gradient(near, angle):
    """Where h is 0 the output says nothing of z, by which the slope of h has its gradient."""
    operator = dn.Operator("spline", angle)
    tensors = case(operator, 1, 1, bias=False)
    with torch.no_grad():
        tensors["h_parameters"][0, :8] = 0.0
    h = operator.h(torch.linspace(0.1, 4, 40).double(), parameters=tensors["h_parameters"].detach()[0])
    assert h[0] == 0 < h[-1]
    options = {"operator": operator, "padding": 1}
    expected = outcome(decoupled_conv_reference, tensors, **options)
    assert expected["h_parameters"][0, :8].abs().max() > 0.1
    for name, value in outcome(decoupled_conv, tensors, **options).items():
        near(value, expected[name], name=name)


@needs_binary
@pytest.mark.parametrize("name", ["power", "spline-spline"])
def test_one_thread_and_two_give_the_same_bits(name):
    layer = dn.DecoupledConv2d(8, 16, 3, operator=name)
    x = torch.randn(6, 8, 40, 40)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        operands = {"h_parameters": layer.h_parameters, "g_parameters": layer.g_parameters, "radius": 3.0}
        out = decoupled_conv(x, layer.weight, operator=layer.operator, **operands)
        found.append([out, *torch.autograd.grad(out.square().sum(), list(layer.parameters())[2:])])
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("path", ["composed", pytest.param("cpu", marks=needs_binary)])
@pytest.mark.parametrize("radius", [-2.0, -1e-5, 25.0])
def test_splines_at_knots_and_in_units_that_are_no_radius(near, path, radius):
    """A norm of 5 lies on the first knot for a radius of 25; one below 0 reads nothing that is not there."""
    x = torch.tensor([3.0, 4, 0]).double().view(1, 3, 1, 1).requires_grad_()
    weight, slopes = torch.randn(2, 3, 1, 1).double(), (1.0 + torch.arange(16).double()).view(1, 16)
    given = {
        "operator": "spline-cos",
        "radius": torch.tensor(radius, dtype=torch.float64),
        "h_parameters": slopes,
        "eps": 1e-30,
    }
    with backend.use_backend(path):
        out = decoupled_conv(x, weight, **given)
    size = 5 / radius
    h = size if size < 0.2 else 0.2 + 2 * (size - 0.2)
    cosine = (weight * x).sum((1, 2, 3)) / 5 / weight.flatten(1).norm(dim=1)
    near(out.flatten(), h * cosine)
    (slope,) = torch.autograd.grad(out.sum(), x)
    along = (slope * x).sum() / 5
    near(along, ((2.0 if size >= 0.2 else 1.0) / radius * cosine).sum())


def test_kernels_take_constraints_over(near):
    operator = dn.Operator("spline", "spline", constraints="monotone,bounded", lipschitz=0.6)
    tensors = case(operator, 1, 1)
    tensors["h_parameters"].data[0, 3:6] = -1.0
    options = {"operator": operator}
    expected = outcome(decoupled_conv_reference, tensors, **options)
    for name, value in outcome(decoupled_conv, tensors, **options).items():
        if name != "h_parameters":  # beyond their bounds, where not every gradient passes
            near(value, expected[name], name=name)


@needs_binary
def test_a_radius_for_every_channel_takes_the_composed_path():
    tensors = case(dn.Operator("power"), 1, 1)
    tensors["radius"] = torch.full((12,), 2.3, dtype=torch.float64)
    decoupled_conv(**tensors, operator="power-cos")
    assert "one for every channel" in dn.last_backend().reason
