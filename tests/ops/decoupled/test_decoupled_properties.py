"""What holds for every input, checked on inputs that hypothesis makes up."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from decoupled_cases import WEIGHTED
from hypothesis import assume, given
from hypothesis import strategies as st

from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.functional import decoupled_conv
from decoupled_nets.ops.decoupled.magnitude import magnitudes

TINY = 1e-20  # eps for properties that hold exactly only without it
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
seeds = st.integers(0, 2**31)
factors = st.floats(1e-3, 1e3)


def pair(seed: int, groups: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """An input (2, 4, 5, 4) and a weight (6, 4/G, 3, 2) with norms well above zero."""
    generator = torch.Generator().manual_seed(seed)
    input = torch.randn(2, 4, 5, 4, generator=generator, dtype=torch.float64)
    return input, torch.randn(6, 4 // groups, 3, 2, generator=generator, dtype=torch.float64)


def same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


@st.composite
def geometries(draw):
    dims = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    padding = draw(st.one_of(st.just("same"), st.just("valid"), st.builds(lambda: each(0, 3))))
    stride = (1,) * dims if padding == "same" else each(1, 3)
    groups = draw(st.integers(1, 3))
    return {
        "size": each(1, 7),
        "kernel": each(1, 4),
        "options": {"stride": stride, "padding": padding, "dilation": each(1, 3), "groups": groups},
        "channels": groups * draw(st.integers(1, 2)),
        "out": groups * draw(st.integers(1, 2)),
        "batch": draw(st.integers(0, 2)),
    }


@given(geometries())
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_shape_is_that_of_the_plain_convolution(case):
    options, dims = case["options"], len(case["size"])
    before = 0 if isinstance(options["padding"], str) else options["padding"]
    spans = [d * (k - 1) + 1 for d, k in zip(options["dilation"], case["kernel"], strict=True)]
    if options["padding"] != "same":
        pads = before or (0,) * dims
        assume(all(n + 2 * p >= s for n, p, s in zip(case["size"], pads, spans, strict=True)))
    input = torch.randn(case["batch"], case["channels"], *case["size"])
    weight = torch.randn(case["out"], case["channels"] // options["groups"], *case["kernel"])
    expected = CONV[dims](input, weight, **options)
    assert decoupled_conv(input, weight, **options, operator="seg-linear").shape == expected.shape


@given(seeds, factors)
@pytest.mark.parametrize("angle", angles)
def test_scaling_the_input(angle, seed, factor):
    input, weight = pair(seed)
    for magnitude, gain in (("sphere", 1.0), ("linear", factor)):
        options = {"operator": f"{magnitude}-{angle}", "eps": TINY}
        same(
            decoupled_conv(input * factor, weight, **options), gain * decoupled_conv(input, weight, **options)
        )


@given(seeds, factors)
@pytest.mark.parametrize("magnitude", magnitudes)
def test_scaling_a_kernel_changes_nothing_unweighted(magnitude, seed, factor):
    input, weight = pair(seed)
    options = {"operator": f"{magnitude}-linear", "radius": 2.0, "eps": TINY}
    same(decoupled_conv(input, weight * factor, **options), decoupled_conv(input, weight, **options))


@given(seeds, factors)
@pytest.mark.parametrize("magnitude", magnitudes)
def test_scaling_a_kernel_with_linear_weighting_scales_the_output(magnitude, seed, factor):
    input, weight = pair(seed)
    options = {"operator": f"{magnitude}-cos", "radius": 2.0, "weighting": "linear", "eps": TINY}
    same(decoupled_conv(input, weight * factor, **options), factor * decoupled_conv(input, weight, **options))


@given(seeds, st.floats(0.1, 10), st.floats(0.1, 3))
@pytest.mark.parametrize("weighting", WEIGHTED)
def test_seg_with_beta_equal_to_alpha_is_linear(weighting, seed, radius, alpha):
    input, weight = pair(seed)
    options = {"weighting": weighting, "alpha": alpha}
    if weighting == "separate":
        options["alpha"] = alpha = 1.0  # the factor of the kernel has α = 1, so β = α only then
    seg = decoupled_conv(input, weight, operator="seg-sigmoid", radius=radius, beta=alpha, **options)
    same(seg, decoupled_conv(input, weight, operator="linear-sigmoid", **options))


@given(seeds, st.floats(0.2, 10))
def test_seg_with_beta_zero_is_ball(seed, radius):
    input, weight = pair(seed)
    ball = decoupled_conv(input, weight, operator="ball-cos", radius=radius)
    same(decoupled_conv(input, weight, operator="seg-cos", radius=radius, alpha=1 / radius, beta=0.0), ball)


@given(seeds, st.floats(0.05, 20), st.sampled_from([-3.0, 0.7, 1.0]), st.floats(1e-6, 1e6))
@pytest.mark.parametrize("angle", ["cos", "linear", "sqcos", "sigmoid", "test_cubic"])
@pytest.mark.parametrize("magnitude", [name for name in magnitudes if magnitudes[name].bounded])
def test_bounded_operators_stay_within_alpha(magnitude, angle, seed, radius, alpha, scale):
    input, weight = pair(seed)
    weight[:2] = input[0, :, 1:4, 1:3] * scale  # a parallel pair among them
    options = {"operator": f"{magnitude}-{angle}", "radius": radius, "alpha": alpha}
    for weighting in (None, "product", "separate"):
        y = decoupled_conv(input * scale, weight, weighting=weighting, **options)
        assert y.abs().max() <= abs(alpha) * (1 + 1e-12)


@given(seeds)
@pytest.mark.parametrize("weighting", WEIGHTED)
@pytest.mark.parametrize("angle", angles)
def test_negating_the_kernel_negates_the_output(angle, weighting, seed):
    input, weight = pair(seed)
    options = {"operator": f"tanh-{angle}", "weighting": weighting, "padding": 1}
    y = decoupled_conv(input, weight, **options)
    same(decoupled_conv(input, -weight, **options), -y)
    same(decoupled_conv(-input, weight, **options), -y)


@given(seeds, st.integers(1, 2), st.integers(0, 2))
def test_linear_cos_weighted_linearly_is_the_plain_convolution(seed, stride, padding):
    input, weight = pair(seed, groups=2)
    options = {"stride": stride, "padding": padding, "groups": 2}
    bias = weight.flatten(1).sum(1)
    plain = F.conv2d(input, weight, bias, **options)
    same(decoupled_conv(input, weight, bias, **options, operator="linear-cos", weighting="linear"), plain)


@given(seeds, st.sampled_from([1, 2, 4]))
def test_groups_are_separate_convolutions(seed, groups):
    input, _ = pair(seed)
    weight = torch.randn(8, 4 // groups, 3, 2, dtype=torch.float64)
    radius = torch.linspace(0.5, 4, 8, dtype=torch.float64)
    options = {"operator": "seg-sqcos", "weighting": "product"}
    apart = [
        decoupled_conv(x, w, radius=r, **options)
        for x, w, r in zip(input.chunk(groups, 1), weight.chunk(groups), radius.chunk(groups), strict=True)
    ]
    same(decoupled_conv(input, weight, radius=radius, groups=groups, **options), torch.cat(apart, 1))


@given(seeds)
@pytest.mark.parametrize("operator", ["tanh-cos", "seg-linear"])
def test_a_rotation_of_the_channels_in_common_changes_nothing(operator, seed):
    input, weight = pair(seed)
    rotation, _ = torch.linalg.qr(input[0, :, :4].sum(1))
    turned = torch.einsum("dc,bchw->bdhw", rotation, input), torch.einsum("dc,ochw->odhw", rotation, weight)
    same(decoupled_conv(*turned, operator=operator), decoupled_conv(input, weight, operator=operator))
