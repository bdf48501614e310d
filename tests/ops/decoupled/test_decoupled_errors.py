"""Every refusal of the functions and of the geometry: what was received; needed: what is."""

from __future__ import annotations

import math

import pytest
import torch

import decoupled_nets as dn
from decoupled_nets.functional import decoupled_conv1d, decoupled_conv2d, decoupled_linear
from decoupled_nets.ops.decoupled.functional import decoupled_conv
from decoupled_nets.ops.decoupled.reference import decoupled_conv_reference
from decoupled_nets.ops.geometry import Geometry

X, W = torch.randn(2, 4, 5, 5), torch.randn(6, 4, 3, 3)
CONV, LINEAR = (decoupled_conv, X, W), (decoupled_linear, torch.randn(2, 4), torch.randn(6, 4))
LEARNED = dn.Operator("tanh", "sigmoid", k="learned")


@pytest.mark.parametrize(("fn", "input", "weight"), [CONV, LINEAR], ids=["conv", "linear"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operator": "tanh"}, "operator 'tanh' received; needed: '<magnitude>-<angle>'"),
        (
            {"weighting": "quadratic"},
            r"weighting 'quadratic' received; needed: None or one of \('linear', 'product'",
        ),
        ({"eps": 0.0}, r"eps = 0\.0 received; needed: a positive number"),
        ({"eps": -1e-4}, r"eps = -0\.0001 received; needed: a positive number"),
        ({"eps": math.nan}, "eps = nan received; needed: a positive number"),
        ({"bias": torch.ones(5)}, r"bias of shape \(5,\) received; needed: \(6,\)"),
        ({"bias": torch.ones(6, 1)}, r"bias of shape \(6, 1\) received; needed: \(6,\)"),
        ({"radius": 0.0}, r"radius = 0\.0 received; needed: a positive number"),
        ({"radius": -1}, "radius = -1 received; needed: a positive number"),
        ({"radius": math.nan}, "radius = nan received; needed: a positive number"),
        ({"radius": torch.ones(4)}, r"radius of shape \(4,\) received; needed: \(\) or \(6,\)"),
        ({"alpha": torch.ones(6, 1)}, r"alpha of shape \(6, 1\) received; needed: \(\) or \(6,\)"),
        ({"beta": torch.ones(2)}, r"beta of shape \(2,\) received; needed: \(\) or \(6,\)"),
        ({"k": torch.ones(7)}, r"k of shape \(7,\) received; needed: \(\) or \(6,\)"),
        ({"k": 0.0}, r"k = 0\.0 received; needed: a positive number"),
        ({"operator": LEARNED}, "the operator's k is learned: pass its value as k="),
    ],
)
def test_options(fn, input, weight, options, message):
    with pytest.raises(ValueError, match=message):
        fn(input, weight, **options)


@pytest.mark.parametrize(("fn", "input", "weight"), [CONV, LINEAR], ids=["conv", "linear"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_input_that_is_not_floating_point(fn, input, weight, dtype):
    with pytest.raises(TypeError, match=rf"input of type {dtype} received; needed: a floating point type"):
        fn(input.to(dtype), weight)


@pytest.mark.parametrize(("fn", "input", "weight"), [CONV, LINEAR], ids=["conv", "linear"])
@pytest.mark.parametrize("name", ["radius", "alpha", "beta", "k"])
def test_constants_that_are_no_numbers(fn, input, weight, name):
    with pytest.raises(TypeError, match=f"{name} = '1' received; needed: a number or a tensor"):
        fn(input, weight, **{name: "1"})


@pytest.mark.parametrize(("fn", "input", "weight"), [CONV, LINEAR], ids=["conv", "linear"])
def test_operator_of_another_type(fn, input, weight):
    with pytest.raises(TypeError, match="operator: int received; needed: an Operator or a string"):
        fn(input, weight, operator=3)


@pytest.mark.parametrize(
    ("input", "weight", "groups", "message"),
    [
        ((2, 4, 5, 5), (6, 4), 1, r"weight of shape \(6, 4\) received; needed: 3 to 5 dimensions"),
        ((2,) * 6, (2,) * 6, 1, "needed: 3 to 5 dimensions"),
        ((2, 4, 5, 5), (6, 4, 3, 3), 0, "groups = 0 received; needed: a divisor of the 6 kernels"),
        ((2, 4, 5, 5), (6, 1, 3, 3), 4, "groups = 4 received; needed: a divisor of the 6 kernels"),
        ((5, 5), (6, 4, 3, 3), 1, r"input of shape \(5, 5\) received; needed: 3 or 4 dimensions"),
        ((1, 2, 4, 5, 5), (6, 4, 3, 3), 1, "needed: 3 or 4 dimensions"),
        (
            (2, 3, 5, 5),
            (6, 4, 3, 3),
            1,
            r"input of shape \(2, 3, 5, 5\) received; needed: 4 channels for a weight of shape \(6, 4, 3, 3\)"
            " and 1 groups",
        ),
        ((2, 4, 5, 5), (6, 4, 3, 3), 2, "needed: 8 channels"),
        ((3, 5, 5), (6, 4, 3, 3), 1, "needed: 4 channels"),
    ],
)
def test_shapes(input, weight, groups, message):
    with pytest.raises(ValueError, match=message):
        decoupled_conv(torch.randn(input), torch.randn(weight), groups=groups)


@pytest.mark.parametrize(
    ("input", "weight"), [((2, 3), (6, 4)), ((), (6, 4)), ((2, 4), (6, 4, 1)), ((2, 4), (4,))], ids=str
)
def test_linear_shapes(input, weight):
    with pytest.raises(ValueError, match=r"input of shape .* received; needed: \(\.\.\., C\) and \(O, C\)"):
        decoupled_linear(torch.randn(input), torch.randn(weight))


def test_weight_of_another_dimension():
    message = r"decoupled_conv1d: weight of shape \(6, 4, 3, 3\) received; needed: 3 dimensions"
    with pytest.raises(ValueError, match=message):
        decoupled_conv1d(X, W)
    with pytest.raises(ValueError, match=r"decoupled_conv2d: .* needed: 4 dimensions"):
        decoupled_conv2d(torch.randn(2, 4, 5), torch.randn(6, 4, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride 0 received; needed: at least 1"),
        ({"stride": (1, 2, 3)}, "stride with 3 entries received; needed: 2"),
        ({"dilation": 0}, "dilation 0 received; needed: at least 1"),
        ({"dilation": ()}, "dilation with 0 entries received; needed: 2"),
        ({"padding": -1}, "padding -1 received; needed: at least 0"),
        ({"padding": (0, -1)}, r"padding \(0, -1\) received; needed: at least 0"),
        ({"padding": (1, 1, 1)}, "padding with 3 entries received; needed: 2"),
        ({"padding": "full"}, "padding 'full' received; needed: a number, 'same' or 'valid'"),
        (
            {"padding": "same", "stride": (1, 2)},
            r"padding='same' and stride \(1, 2\) received; needed: stride 1",
        ),
    ],
)
def test_geometry(options, message):
    with pytest.raises(ValueError, match=message):
        decoupled_conv(X, W, **options)


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        ((2, 5), {}, r"padded input of size \(2, 5\) received; needed: at least \(3, 3\)"),
        ((5, 5), {"dilation": 3}, r"padded input of size \(5, 5\) received; needed: at least \(7, 7\)"),
        ((0, 5), {"padding": 1}, r"padded input of size \(2, 7\) received; needed: at least \(3, 3\)"),
    ],
)
def test_kernel_larger_than_the_input(size, options, message):
    with pytest.raises(ValueError, match=message):
        decoupled_conv(torch.randn(1, 4, *size), W, **options)


def test_the_oracle_wants_its_constants():
    with pytest.raises(ValueError, match="a constant = 'learned' received; needed: its value"):
        decoupled_conv_reference(X, W, operator=LEARNED)


def test_normal_form_of_a_geometry():
    same = Geometry.of((4, 3), padding="same", dilation=(1, 2))
    assert same.padding == ((1, 2), (2, 2))
    assert not same.symmetric
    assert same.output_size((9, 9)) == (9, 9)
    plain = Geometry.of((3, 3), stride=[2], padding=1)
    assert plain == Geometry((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    assert plain.symmetric
    assert plain.output_size((9, 6)) == (5, 3)
