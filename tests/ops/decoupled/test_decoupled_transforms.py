"""torch.func on the functions: vmap, per-sample gradients, forward mode."""

from __future__ import annotations

import pytest
import torch
from decoupled_cases import make_tensors

import decoupled_nets as dn
from decoupled_nets.ops.decoupled.functional import decoupled_conv, decoupled_linear
from decoupled_nets.ops.decoupled.learned import held

OPERATORS = ["tanh-cos", "seg-sigmoid", "ball-linear"]


@pytest.mark.parametrize("operator", OPERATORS)
def test_vmap_over_inputs_and_weights(near, operator):
    cases = [make_tensors((4, 4), (2, 2), groups=2) for _ in range(3)]
    inputs = torch.stack([c["input"] * (i + 1) for i, c in enumerate(cases)]).detach()
    weights = torch.stack([c["weight"].flip(0) * (i + 1) for i, c in enumerate(cases)]).detach()

    def fn(input, weight):
        return decoupled_conv(input, weight, operator=operator, groups=2, weighting="product")

    expected = torch.stack([fn(x, w) for x, w in zip(inputs, weights, strict=True)])
    near(torch.func.vmap(fn)(inputs, weights), expected)


@pytest.mark.parametrize("operator", OPERATORS)
def test_gradient_of_every_sample(near, operator):
    tensors = make_tensors((), (), batch=3, groups=1)
    x, w = tensors["input"].detach(), tensors["weight"].detach()

    def loss(w, x):
        return decoupled_linear(x, w, operator=operator).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(w, x)
    near(each, torch.stack([torch.func.grad(loss)(w, sample) for sample in x]))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is not supported:FutureWarning")
@pytest.mark.parametrize("operator", OPERATORS)
def test_jvp_is_the_transpose_of_the_gradient(operator):
    tensors = {name: value.detach() for name, value in make_tensors().items()}
    values = tuple(tensors.values())
    tangents = tuple(torch.randn_like(value) for value in values)

    def fn(*args):
        return decoupled_conv(**dict(zip(tensors, args, strict=True)), operator=operator, groups=2)

    output, forward = torch.func.jvp(fn, values, tangents)
    cotangent = torch.randn_like(output)
    gradients = torch.func.vjp(fn, *values)[1](cotangent)
    backward = sum((g * t).sum() for g, t in zip(gradients, tangents, strict=True))
    torch.testing.assert_close((forward * cotangent).sum(), backward)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is not supported:FutureWarning")
@pytest.mark.parametrize("operator", [dn.Operator("power", "power"), dn.Operator("spline", lipschitz=9.0)])
def test_hessian_by_learned_parameters(near, operator):
    layer = dn.DecoupledConv2d(2, 3, 2, operator=operator, dtype=torch.float64).eval()
    x, given = torch.randn(1, 2, 4, 4, dtype=torch.float64), dict(layer.named_parameters())
    with torch.no_grad():
        layer.h_parameters.add_(0.1)  # away from the bounds, where a gradient passes one way

    def loss(given):
        return torch.func.functional_call(layer, given, (x,)).square().sum()

    forward = torch.func.hessian(loss)(given)
    backward = torch.func.jacrev(torch.func.jacrev(loss))(given)
    assert forward["h_parameters"]["h_parameters"].abs().max() > 0
    for one, row in backward.items():
        for other, want in row.items():
            near(forward[one][other], want, name=f"{one}, {other}")


def test_forward_mode_through_bounds():
    value = torch.tensor([-1.0, 0.0, 0.4, 1.0, 2.0])
    out, tangent = torch.func.jvp(lambda v: held(v, 0.0, 1.0), (value,), (torch.full((5,), 3.0),))
    assert out.tolist() == pytest.approx([0, 0, 0.4, 1, 1])
    assert tangent.tolist() == [0, 3, 3, 3, 0]
