"""Values and gradients of the operators against the oracle."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from decoupled_cases import OPERATORS, WEIGHTED, doubled, make_tensors, outcome

import decoupled_nets as dn
from decoupled_nets.ops.decoupled.call import Operands
from decoupled_nets.ops.decoupled.functional import (
    decoupled_conv,
    decoupled_linear,
    measure_conv,
    respond,
)
from decoupled_nets.ops.decoupled.reference import decoupled_conv_reference


def agree(near, tensors, fn=decoupled_conv, reference=decoupled_conv_reference, **options):
    dtype = tensors["input"].dtype
    actual = outcome(fn, tensors, **options)
    expected = outcome(reference, doubled(tensors), **options)
    assert actual["output"].dtype == dtype
    for name, value in expected.items():
        assert actual[name].shape == value.shape, name
        near(actual[name], value, dtype, name)


@pytest.mark.parametrize("weighting", WEIGHTED)
@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_and_weighting(near, operator, weighting):
    agree(near, make_tensors(), operator=operator, weighting=weighting, groups=2, padding=1)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_operator_in_lower_precision(near, operator, dtype):
    agree(near, make_tensors(dtype=dtype), operator=operator, groups=2, padding=1)


@pytest.mark.parametrize("weighting", WEIGHTED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_weighting_in_lower_precision(near, weighting, dtype):
    agree(near, make_tensors(dtype=dtype), operator="tanh-sigmoid", weighting=weighting, groups=2)


@pytest.mark.parametrize("operator", ["tanh-cos", "seg-sigmoid", "ball-linear", "test_root-sqcos"])
@pytest.mark.parametrize(
    ("size", "kernel"), [((9,), (3,)), ((4, 3, 5), (2, 3, 2))], ids=["one dimension", "three dimensions"]
)
def test_other_dimensions(near, operator, size, kernel):
    tensors = make_tensors(size, kernel)
    agree(near, tensors, operator=operator, weighting="product", groups=2, padding=1, stride=2)


@pytest.mark.parametrize("weighting", WEIGHTED)
@pytest.mark.parametrize("operator", OPERATORS)
def test_linear(near, operator, weighting):
    tensors = make_tensors((), (), batch=3, channels=5, out=4, groups=1)
    agree(near, tensors, decoupled_linear, operator=operator, weighting=weighting)


def test_linear_is_a_one_by_one_convolution(near):
    tensors = make_tensors((), (), groups=1)
    linear = outcome(decoupled_linear, tensors, operator="seg-sigmoid", weighting="separate")

    def as_conv(input, weight, **rest):
        return decoupled_conv(input[..., None, None], weight[..., None, None], **rest).flatten(1)

    for name, value in outcome(as_conv, tensors, operator="seg-sigmoid", weighting="separate").items():
        near(linear[name], value, name=name)


GEOMETRIES = {
    "stride": {"stride": 2},
    "stride that leaves a rest": {"stride": (3, 2), "padding": 1},
    "dilation": {"dilation": (1, 2), "padding": (0, 1)},
    "all at once": {"stride": (2, 1), "dilation": (2, 1), "padding": (2, 3)},
    "lists": {"stride": [2, 1], "padding": [1], "dilation": [1, 1]},
    "padding beyond the kernel": {"padding": 4},
    "same": {"padding": "same"},
    "same, dilated": {"padding": "same", "dilation": (2, 3)},
    "valid": {"padding": "valid", "stride": 2},
}


@pytest.mark.parametrize("kernel", [(3, 3), (2, 3), (4, 2), (1, 1)], ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_geometry(near, geometry, kernel):
    tensors = make_tensors((9, 7), kernel, batch=1)
    agree(near, tensors, operator="seg-linear", groups=2, **geometry)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_groups(near, groups):
    agree(near, make_tensors(channels=6, groups=groups), operator="tanh-sqcos", groups=groups)


def test_depthwise_with_a_multiplier(near):
    tensors = make_tensors(channels=3, out=6, groups=3)
    agree(near, tensors, operator="tanh-sqcos", groups=3)


def test_kernel_as_large_as_the_input(near):
    tensors = make_tensors((5, 3), (5, 3))
    agree(near, tensors, operator="seg-cos", groups=2)
    assert decoupled_conv(**tensors, groups=2).shape == (2, 6, 1, 1)


@pytest.mark.parametrize("constant", ["radius", "alpha", "beta", "k"])
@pytest.mark.parametrize("value", [0.75, torch.tensor(0.75), torch.tensor([0.75])], ids=repr)
def test_one_constant_for_all_channels(near, constant, value):
    tensors = make_tensors()
    tensors[constant] = torch.full((6,), 0.75, dtype=torch.float64)
    options = {"operator": "seg-sigmoid", "groups": 2}
    expected = decoupled_conv_reference(**tensors, **options)
    near(decoupled_conv(**{**tensors, constant: value}, **options), expected)


@pytest.mark.parametrize("linear", [False, True])
def test_constants_of_the_operator_itself(near, linear):
    operator = dn.Operator("seg", "sigmoid", alpha=1.5, beta=0.3, k=0.6)
    size, fn = ((), decoupled_linear) if linear else ((5, 4), decoupled_conv)
    tensors = {n: t for n, t in make_tensors(size, size and (3, 2), groups=1).items() if n != "k"}
    del tensors["alpha"], tensors["beta"]
    explicit = fn(**tensors, operator="seg-sigmoid", alpha=1.5, beta=0.3, k=0.6)
    near(fn(**tensors, operator=operator), explicit)
    assert not torch.allclose(fn(**tensors, operator="seg-sigmoid"), explicit)


@pytest.mark.parametrize("operator", ["tanh-cos", "tanh-linear"])
def test_norms_are_measured_and_the_radius_comes_after(near, operator):
    tensors = make_tensors()
    own = Operands(tensors["input"], tensors["weight"])
    call, operands = measure_conv(own, groups=2, operator=operator)
    assert operands.norm.shape == (2, 2, 3, 3)  # (B, G, *S)
    energy = F.unfold(tensors["input"][:, 2:], (3, 2)).square().sum(1)
    near(operands.norm[:, 1].flatten(1), (energy + 1e-4).sqrt())
    actual = respond(call, operands._replace(radius=torch.full((6,), 2.5, dtype=torch.float64)))
    pair = {name: tensors[name] for name in ("input", "weight")}
    near(actual, decoupled_conv_reference(**pair, groups=2, operator=operator, radius=2.5))


def test_eps_is_used_for_both_norms(near):
    agree(near, make_tensors(), operator="tanh-cos", weighting="linear", groups=2, eps=0.5)


def test_arguments_are_left_alone():
    tensors = make_tensors()
    before = {name: value.detach().clone() for name, value in tensors.items()}
    outcome(decoupled_conv, tensors, operator="seg-sigmoid", groups=2)
    for name, value in tensors.items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_functional_names_by_dimension(near, dims):
    tensors = make_tensors((4,) * dims, (2,) * dims)
    fn = getattr(dn.functional, f"decoupled_conv{dims}d")
    assert fn.__name__ == f"decoupled_conv{dims}d"
    near(fn(**tensors, groups=2), decoupled_conv_reference(**tensors, groups=2))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_unbatched(near, dims):
    tensors = make_tensors((4,) * dims, (2,) * dims)
    options = {"groups": 2, "padding": "same", "operator": "mix-sigmoid"}
    batched = decoupled_conv(**tensors, **options)
    single = decoupled_conv(**{**tensors, "input": tensors["input"][1]}, **options)
    near(single, batched[1])


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5), (0, 5)], ids=str)
def test_linear_takes_any_leading_dimensions(near, shape):
    tensors = make_tensors((), (), channels=5, groups=1)
    tensors["input"] = torch.randn(*shape, dtype=torch.float64)
    actual = decoupled_linear(**tensors, operator="tanh-sigmoid")
    assert actual.shape == (*shape[:-1], 6)
    tensors["input"] = tensors["input"].reshape(-1, 5)
    near(actual.reshape(-1, 6), decoupled_conv_reference(**tensors, operator="tanh-sigmoid"))


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("operator", ["tanh-cos", "seg-sqcos", "linear-sigmoid", "log-linear"])
def test_autocast(near, operator, given):
    tensors = make_tensors(dtype=torch.float32)
    tensors["input"] = tensors["input"].detach().to(given).requires_grad_()
    expected = outcome(decoupled_conv_reference, doubled(tensors), operator=operator, groups=2)
    with torch.autocast("cpu", torch.bfloat16):
        plain = F.conv2d(tensors["input"], tensors["weight"], groups=2)
        actual = outcome(decoupled_conv, tensors, operator=operator, groups=2)
    assert actual["output"].dtype == plain.dtype == torch.bfloat16
    for name, value in actual.items():
        if name != "output":
            assert value.dtype == tensors[name].dtype, name
        near(value, expected[name], torch.bfloat16, name)
