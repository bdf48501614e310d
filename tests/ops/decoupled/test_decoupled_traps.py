"""Places where a careless formula gives NaN, infinity, a dead gradient or a response out of bounds."""

from __future__ import annotations

import math

import pytest
import torch
from decoupled_cases import OPERATORS, WEIGHTED, doubled, outcome

from decoupled_nets.ops.decoupled.angle import angles, asin
from decoupled_nets.ops.decoupled.functional import decoupled_conv
from decoupled_nets.ops.decoupled.magnitude import magnitudes
from decoupled_nets.ops.decoupled.reference import decoupled_conv_reference
from decoupled_nets.ops.geometry import Geometry
from decoupled_nets.ops.norms import patch_norm

FLOATS = [torch.float64, torch.float32]
NARROW = [torch.bfloat16, torch.float16]
THETA = ["linear", "sigmoid"]
# Between ±1 as far as the angle goes, whatever rounding did to the cosine.
BOUNDED = [(h, g) for h in magnitudes if magnitudes[h].bounded for g in ["linear", "cos", "sqcos", "sigmoid"]]


def tensors_of(input, weight, dtype):
    channels = len(weight)
    bias = torch.arange(1.0, 1.0 + channels)
    constants = {name: torch.full((channels,), 0.7) for name in ("radius", "alpha", "beta", "k")}
    every = {"input": input, "weight": weight, "bias": bias, **constants}
    return {name: value.detach().to(dtype).requires_grad_() for name, value in every.items()}


def assert_finite(result):
    for name, value in result.items():
        assert value.isfinite().all(), f"{name}: {value}"


@pytest.mark.parametrize("weighting", WEIGHTED)
@pytest.mark.parametrize("operator", OPERATORS)
def test_zero_patch_responds_with_the_bias(operator, weighting):
    weight = torch.randn(3, 2, 2, 2)
    result = outcome(
        decoupled_conv,
        tensors_of(torch.zeros(1, 2, 3, 3), weight, torch.float32),
        operator=operator,
        weighting=weighting,
    )
    bias = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    assert torch.equal(result["output"], bias.expand(1, 3, 2, 2))
    assert_finite(result)


@pytest.mark.parametrize("weighting", WEIGHTED)
@pytest.mark.parametrize("operator", OPERATORS)
def test_zero_kernel_responds_with_the_bias(operator, weighting):
    result = outcome(
        decoupled_conv,
        tensors_of(torch.randn(1, 2, 3, 3), torch.zeros(1, 2, 2, 2), torch.float32),
        operator=operator,
        weighting=weighting,
    )
    assert torch.equal(result["output"], torch.ones(1, 1, 2, 2))
    assert_finite(result)


def test_zero_patch_against_the_oracle(near):
    tensors = tensors_of(torch.zeros(1, 2, 2, 2), torch.randn(3, 2, 2, 2), torch.float64)
    expected = outcome(decoupled_conv_reference, doubled(tensors), operator="tanh-sigmoid")
    actual = outcome(decoupled_conv, tensors, operator="tanh-sigmoid")
    for name in ("output", "input", "bias"):
        near(actual[name], expected[name], name=name)
    for name in ("weight", "radius", "alpha", "k"):
        assert actual[name].abs().max() < 1e-15, name  # what multiplies g(90°) = 0


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["parallel", "antiparallel"])
@pytest.mark.parametrize("angle", angles)
@pytest.mark.parametrize("magnitude", ["sphere", "tanh", "linear"])
def test_parallel_patch(magnitude, angle, sign, dtype):
    weight = torch.randn(8, 4, 3, 3)
    tensors = tensors_of(sign * 3 * weight, weight, dtype)
    # eps so small that the cosines are ±1 but for rounding, above or below.
    result = outcome(decoupled_conv, tensors, operator=f"{magnitude}-{angle}", eps=1e-30)
    assert_finite(result)
    norm = tensors["input"].detach().double().flatten(1).norm(dim=1)
    h = {"sphere": torch.ones_like(norm), "tanh": torch.tanh(norm / 0.7), "linear": norm}[magnitude]
    expected = (sign * tensors["alpha"] * h + tensors["bias"]).detach()
    # Near ±1 the angle is as uncertain as the root of the cosine's rounding.
    unit = torch.finfo(dtype).eps
    slack = 16 * (math.sqrt(unit) if angle in THETA else unit)
    actual = result["output"].squeeze().diagonal()
    torch.testing.assert_close(actual, expected.to(dtype), rtol=slack, atol=slack)


@pytest.mark.parametrize("dtype", [*FLOATS, *NARROW])
@pytest.mark.parametrize(("magnitude", "angle"), BOUNDED)
def test_bounded_stays_bounded_at_parallel_patches(magnitude, angle, dtype):
    weight = torch.randn(64, 4, 3, 3)
    for scale in (1.0, -1.0, 0.3, 7.0):
        tensors = tensors_of(scale * weight, weight, dtype)
        del tensors["bias"]
        response = decoupled_conv(**tensors, operator=f"{magnitude}-{angle}").abs().max().item()
        alpha = tensors["alpha"][0].item()
        # cos and sqcos carry the rounding of the projection; the angle's own functions end at ±1.
        units = 4 if angle in ("cos", "sqcos") else 1
        assert response <= alpha * (1 + units * torch.finfo(dtype).eps)


@pytest.mark.parametrize("angle", THETA)
@pytest.mark.parametrize("dtype", NARROW)
def test_parallel_patch_in_half_the_bits(angle, dtype):
    weight = torch.randn(16, 4, 3, 3)
    result = outcome(decoupled_conv, tensors_of(weight, weight, dtype), operator=f"sphere-{angle}")
    assert_finite(result)
    response = (result["output"].squeeze() - torch.arange(1.0, 17.0)).diagonal()
    slack = 2 * math.sqrt(torch.finfo(dtype).eps) + 16 * torch.finfo(dtype).eps  # of the angle, of the sum
    torch.testing.assert_close(response.float(), torch.full((16,), 0.7), rtol=0, atol=slack)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("angle", THETA)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_learning_signal_next_to_parallel(angle, sign, dtype):
    """θ changes at a finite rate there: the gradient of g(θ) by the patch is that slope / ‖x‖, never 0."""
    weight = torch.tensor([[[[1.0]], [[0.0]]]])
    tilt = {torch.float64: 1e-5, torch.float32: 1e-2}[dtype]
    tensors = tensors_of(sign * torch.tensor([[[[2.0]], [[2.0 * tilt]]]]), weight, dtype)
    gradient = outcome(decoupled_conv, tensors, operator=f"sphere-{angle}", eps=1e-30)["input"].flatten()
    cotangent = torch.randn(1, generator=torch.Generator().manual_seed(2), dtype=torch.float64).item()
    slope = 0.7 * (2 / math.pi if angle == "linear" else 1 / (2 * 0.7) / math.tanh(math.pi / 2 / 1.4))
    if angle == "sigmoid":
        slope /= math.cosh((math.pi / 2) / 1.4) ** 2
    expected = -slope / 2 * cotangent
    assert gradient[1].item() == pytest.approx(expected, rel=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, *NARROW])
@pytest.mark.parametrize("degrees", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("angle", THETA)
def test_gradient_does_not_explode_next_to_parallel(angle, degrees, dtype):
    """The slope of acos amplifies the rounding of the cosine; where only rounding is left it must not."""
    weight, other = torch.randn(2, 200, 16).unbind()
    other = other - (other * weight).sum(1, keepdim=True) / weight.square().sum(1, keepdim=True) * weight
    tilt = (
        math.tan(math.radians(degrees)) * weight.norm(dim=1, keepdim=True) / other.norm(dim=1, keepdim=True)
    )
    input = (weight + tilt * other).view(1, -1, 1, 1)
    tensors = tensors_of(input, weight.view(200, 16, 1, 1), dtype)
    options = {"operator": f"sphere-{angle}", "groups": 200}
    actual = outcome(decoupled_conv, tensors, **options)["input"].view(200, 16).double()
    exact = outcome(decoupled_conv_reference, doubled(tensors), **options)["input"].view(200, 16)
    assert (actual.norm(dim=1) < 2 * exact.norm(dim=1)).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_asin_is_steep_but_never_flat_at_the_ends(dtype):
    unit = torch.finfo(dtype).eps
    ends = [1.0, 1.0 + unit, 1.0 - unit, 1.0 + 100 * unit, 1.5]
    x = torch.tensor([*ends, *(-e for e in ends)], dtype=dtype, requires_grad=True)
    y = asin(x)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert (y.abs() <= math.pi / 2).all()
    assert torch.equal(y.sign(), x.sign())
    assert ((slope > 1000) & slope.isfinite()).all()
    (curvature,) = torch.autograd.grad(slope.sum(), x, allow_unused=True)
    assert curvature.isfinite().all()


@pytest.mark.parametrize("weighting", WEIGHTED)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("norm", [1e18, 1e-18])
def test_extreme_patches(near, operator, weighting, norm):
    input = torch.randn(2, 2, 3, 3)
    weight = torch.randn(3, 2, 3, 3)
    tensors = tensors_of(input * (norm / input[0].norm()), weight, torch.float32)
    result = outcome(decoupled_conv, tensors, operator=operator, weighting=weighting)
    assert_finite(result)
    expected = decoupled_conv_reference(**doubled(tensors), operator=operator, weighting=weighting)
    near(result["output"], expected)


@pytest.mark.parametrize("operator", ["tanh-cos", "linear-sigmoid", "seg-linear", "mix-sqcos"])
@pytest.mark.parametrize("norm", [1e18, 1e-18])
def test_extreme_kernels(near, operator, norm):
    weight = torch.randn(3, 2, 3, 3)
    tensors = tensors_of(torch.randn(2, 2, 3, 3), weight * (norm / weight[0].norm()), torch.float32)
    result = outcome(decoupled_conv, tensors, operator=operator)
    assert_finite(result)
    near(result["output"], decoupled_conv_reference(**doubled(tensors), operator=operator))


@pytest.mark.parametrize("dtype", NARROW)
def test_squares_do_not_overflow_nor_stagnate(dtype):
    """300² is beyond float16, and bf16 cannot add 1 to 256."""
    geometry = Geometry.of((1, 1))
    input = torch.full((1, 4096, 1, 1), 300.0, dtype=dtype)
    exact = input[0, 0].double().item() * 64
    assert patch_norm(input, geometry).dtype == torch.float32
    assert patch_norm(input, geometry).item() == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("operator", ["tanh-cos", "linear-cos", "seg-linear", "sphere-sigmoid"])
def test_many_channels_in_half_the_bits(near, operator, dtype):
    # Patches and kernels at some 40°, so that the sums do not cancel.
    input = torch.randn(2, 4096, 2, 2) + 1
    weight = torch.randn(8, 4096, 1, 1) + 1
    tensors = tensors_of(input, weight, dtype)
    expected = decoupled_conv_reference(**doubled(tensors), operator=operator)
    near(decoupled_conv(**tensors, operator=operator), expected)
