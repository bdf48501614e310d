"""torch.func on the functions: vmap, per-sample gradients, forward mode."""

from __future__ import annotations

import pytest
import torch
from decoupled_cases import make_tensors

from decoupled_nets.ops.decoupled.functional import decoupled_conv, decoupled_linear

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
