"""The linear layer on the compiled kernels: a product of matrices between norms and epilogue."""

from __future__ import annotations

import pytest
import torch
from decoupled_cases import WEIGHTED

import decoupled_nets as dn
from decoupled_nets.ops import backend
from decoupled_nets.ops.decoupled.functional import decoupled_linear
from decoupled_nets.ops.decoupled.reference import decoupled_conv_reference

pytestmark = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")


@pytest.fixture(autouse=True)
def on_kernels():
    """Small weights take them if they are asked for."""
    with dn.use_backend("cpu"):
        yield


OPERATORS = ["tanh-cos", "seg-sqcos", "ball-linear", "tanh-sigmoid", "log-cos"]


def results(fn, tensors, **options):
    out = fn(**tensors, **options)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)
    leaves = [t for t in tensors.values() if t.requires_grad]
    return {"output": out, **dict(enumerate(torch.autograd.grad(out, leaves, grad, allow_unused=True)))}


def reference(input, **others):
    out = decoupled_conv_reference(input.reshape(-1, input.shape[-1]), **others)
    return out.reshape(*input.shape[:-1], -1)


def case(shape, dtype, *, bias):
    made = {"input": torch.randn(*shape, 19), "weight": torch.randn(7, 19), "radius": torch.rand(7) * 6 + 1}
    if bias:
        made["bias"] = torch.randn(7)
    return {name: t.to(dtype).requires_grad_() for name, t in made.items()}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("shape", [(), (1,), (33,), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("operator", OPERATORS)
def test_values_and_gradients_are_the_reference(near, operator, dtype, shape, bias):
    tensors = case(shape, dtype, bias=bias)
    if operator.startswith("log"):
        tensors["radius"].requires_grad_(False)
    found = results(decoupled_linear, tensors, operator=operator)
    assert dn.last_backend()[:2] == ("decoupled_linear", "cpu")
    exact = {name: t.detach().double().requires_grad_(t.requires_grad) for name, t in tensors.items()}
    for name, want in results(reference, exact, operator=operator).items():
        assert found[name].shape == want.shape
        near(found[name], want, dtype, str(name))


@pytest.mark.parametrize("weighting", WEIGHTED)
@pytest.mark.parametrize("operator", ["tanh-cos", "spline-spline", "ball-linear"])
def test_layers_are_as_composed(near, operator, weighting):
    if operator == "spline-spline" and weighting == "product":
        pytest.skip("composed")
    layer = dn.DecoupledLinear(12, 6, operator=operator, weighting=weighting, dtype=torch.float64)
    x = torch.randn(4, 5, 12, dtype=torch.float64, requires_grad=True)
    leaves = [x, *layer.parameters()]
    both = []
    for name in ("cpu", "composed"):
        with dn.use_backend(name):
            out = layer(x)
            first = torch.autograd.grad(out.square().sum(), leaves, create_graph=True)
            second = torch.autograd.grad(first[0].square().sum(), leaves, allow_unused=True)
        both.append([out, *first, *[t for t in second if t is not None]])
    for got, want in zip(*both, strict=True):
        near(got, want)


def test_a_transposed_input_autocast_and_threads(near):
    layer, x = dn.DecoupledLinear(64, 48), torch.randn(64, 700).t()
    with dn.use_backend("composed"):
        expected = layer.eval()(x)
    near(layer(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    near(out, expected, torch.bfloat16)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        norm_of = torch.autograd.grad(layer(x).square().sum(), layer.radius)[0]
        found.append(norm_of)
    torch.testing.assert_close(*found, rtol=1e-6, atol=0)


def test_an_output_changed_in_place_and_no_image(near):
    layer, x = dn.DecoupledLinear(8, 6, bias=False, radius="learned"), torch.randn(5, 8, requires_grad=True)
    found = torch.autograd.grad(torch.relu_(layer(x)).sum(), [x, *layer.parameters()])
    with dn.use_backend("composed"):
        expected = torch.autograd.grad(torch.relu(layer(x)).sum(), [x, *layer.parameters()])
    for got, want in zip(found, expected, strict=True):
        near(got, want)
    with dn.use_backend("auto"):
        assert layer(torch.zeros(0, 8)).shape == (0, 6)


@pytest.mark.parametrize(("out", "name"), [(256, "cpu"), (255, "composed")])
def test_a_small_weight_takes_them_only_if_asked(near, out, name):
    layer, x = dn.DecoupledLinear(256, out, operator="tanh-linear").eval(), torch.randn(3, 256)
    with dn.use_backend("auto"):
        found = layer(x)
        assert dn.last_backend().backend == name
        row = layer(x[:1])
        assert dn.last_backend().backend == name
    near(found, layer(x))
    near(row, found[:1])


@pytest.mark.parametrize(
    ("operator", "name"),
    [("power", "cpu"), ("tanh-spline", "cpu"), ("spline-cos", "composed"), ("tanh-cos", "composed")],
)
def test_a_small_weight_takes_them_if_its_angle_is_learned(near, operator, name):
    layer, x = dn.DecoupledLinear(12, 5, operator=operator).eval(), torch.randn(3, 12, requires_grad=True)
    leaves, both = [x, *layer.parameters()], []
    for asked in ("auto", "composed"):
        with dn.use_backend(asked):
            out = layer(x)
            assert dn.last_backend().backend == (name if asked == "auto" else "composed")
        both.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for got, want in zip(*both, strict=True):
        near(got, want)
