"""Learned halves of operators: values and gradients against the reference, limits, starts, and kernels."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from decoupled_cases import doubled, make_tensors, outcome

import decoupled_nets as dn
from decoupled_nets.ops import backend
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.functional import decoupled_conv, decoupled_linear
from decoupled_nets.ops.decoupled.learned import SPLINE_OF_G, Limits, spline_of_turn
from decoupled_nets.ops.decoupled.magnitude import magnitudes
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


# What is learned. ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("start", "q", "p"),
    [("tanh-cos", 0.55, 1), ("linear-sqcos", 1, 2), ("sphere-cos", 0, 1), ("ball-linear", 0.5, 1)],
)
def test_a_power_starts_as_the_operator_named(start, q, p):
    of_h, of_g = dn.Operator("power", "power", start=start).start_parameters()
    assert of_h.item() == pytest.approx(q, abs=0.005)
    assert of_g.item() == pytest.approx(p, abs=0.01)


@pytest.mark.parametrize("magnitude", ["tanh", "ball", "linear", "seg", "log", "mix"])
def test_a_spline_starts_as_the_magnitude_named(magnitude):
    operator = dn.Operator("spline", start=f"{magnitude}-cos")
    size = torch.linspace(0.01, 3.2, 400, dtype=torch.float64)
    named = dn.Operator(magnitude).h(size)
    exact = magnitude in ("ball", "linear", "seg")  # their one kink lies on a knot
    torch.testing.assert_close(operator.h(size), named, rtol=0, atol=1e-12 if exact else 0.006)
    torch.testing.assert_close(operator.h(2.5 * size, 2.5), operator.h(size))


def test_a_spline_angle_starts_as_the_square_of_the_cosine():
    operator = dn.Operator("tanh", "spline", start="tanh-sqcos")
    turns = torch.arange(-4, 5, dtype=torch.float64)
    g = operator.g(turns / 10, fan_in=100) * 10
    torch.testing.assert_close(g / g[5], turns * turns.abs())


def test_power_is_what_its_formula_says():
    operator = dn.Operator("power", "power", alpha=1.7)
    q, p = torch.tensor([0.4]).double(), torch.tensor([1.6]).double()
    size, cosine = torch.tensor([0.3, 1.0, 7.0]).double(), torch.tensor([-0.6, -0.2, 0.3, 0.9]).double()
    torch.testing.assert_close(operator.h(size, 2.0, parameters=q), 1.7 * (size / 2) ** 0.4)
    g = operator.g(cosine, None, p, 144)
    torch.testing.assert_close(g, cosine.sign() * (cosine.abs() * 12) ** 1.6 / 12, rtol=1e-3, atol=0)
    steep = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(operator.g(steep, None, torch.tensor([0.5]).double(), 144), steep)
    assert 1 < slope.item() < 10  # |t|^0.5 itself has none


def test_a_spline_angle_has_the_cosines_mean_square_whatever_its_slopes():
    turns = torch.linspace(-12, 12, 24001, dtype=torch.float64)
    density = torch.exp(-(turns**2) / 2) / math.sqrt(2 * math.pi)
    for slopes in ([1, 1, 1, 1], [1, 3, 5, 7], [0.2, -0.4, 3, 1]):
        own = SPLINE_OF_G.effective(torch.tensor(slopes).double(), Limits())
        square = torch.trapezoid(spline_of_turn(turns, own).square() * density, turns)
        assert square.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("name", "low", "high"), [("power-cos", 0, 1.5), ("tanh-power", 0.5, 3)])
def test_exponents_beyond_their_range_count_as_its_ends_and_find_back(name, low, high):
    operator = resolve_operator(name)

    def response(value):
        if operator.learned[0] is not None:
            return operator.h(torch.tensor([4.0]).double(), parameters=value).sum()
        return operator.g(torch.tensor([0.8]).double(), None, value, 9).sum()

    for end, outwards in ((low, 1), (high, -1)):  # of a loss that the step goes down
        beyond = torch.tensor([end - 2.0 * outwards], dtype=torch.float64, requires_grad=True)
        torch.testing.assert_close(response(beyond), response(torch.tensor([end]).double()))
        back = torch.autograd.grad(-outwards * response(beyond), beyond)[0].item()
        assert back * outwards < -0.01
        assert torch.autograd.grad(outwards * response(beyond), beyond)[0].item() == 0


def test_a_parameter_that_was_pushed_to_its_end_comes_back_at_once():
    layer = dn.DecoupledLinear(4, 1, bias=False, operator="power-cos", radius=1.0)
    x = torch.randn(256, 4)
    unit = layer.weight.detach() / layer.weight.detach().norm()
    cosine = x @ unit.T / x.norm(dim=1, keepdim=True)
    optimizer = torch.optim.SGD([layer.h_parameters], 0.05)
    seen = []
    for power in (-1.0, 1.0):
        for _ in range(60):
            optimizer.zero_grad()
            (layer(x) - x.norm(dim=1, keepdim=True) ** power * cosine).square().mean().backward()
            optimizer.step()
            seen.append(layer.h_parameters.item())
    assert -0.1 < seen[59] <= 0.01
    assert seen[70] > 0.01
    assert seen[-1] > 0.5


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


def test_a_spline_angle_has_the_slope_behind_its_knots_on_both_sides():
    turn = torch.tensor([-2.0, -1, 0, 1, 2], dtype=torch.float64, requires_grad=True)
    slopes = torch.tensor([1.0, 3, 5, 7]).double()
    (found,) = torch.autograd.grad(spline_of_turn(turn, slopes).sum(), turn)
    assert found.tolist() == [5, 3, 1, 3, 5]


def test_constraints_hold_splines():
    slopes_h, slopes_g = torch.randn(16).double() * 3, torch.tensor([1.0, -0.5, 4, 9]).double()
    size, cosine = torch.linspace(0.01, 6, 500).double(), torch.linspace(-1, 1, 501).double()

    def functions(**options):
        operator = dn.Operator("spline", "spline", **options)
        h, g = operator.h(size, parameters=slopes_h), operator.g(cosine, None, slopes_g, 36)
        return h.diff() / size.diff(), g.diff() / cosine.diff(), h

    free_h, free_g, _ = functions()
    assert free_h.min() < -0.1
    assert free_g.min() < -0.1
    assert free_h[-1].abs() > 0.1
    rising_h, rising_g, _ = functions(constraints="monotone")
    assert rising_h.min() > -1e-12
    assert rising_g.min() > -1e-12
    assert functions(constraints=("bounded",))[0][-200:].abs().max() < 1e-12
    held_h, held_g, _ = functions(lipschitz=0.8)
    assert 0.79 < held_h.abs().max() < 0.8 + 1e-9
    assert 0.79 < held_g.abs().max() < 0.8 + 1e-9
    both = functions(constraints="monotone, bounded", lipschitz=0.5)
    assert both[0].min() > -1e-12
    assert both[0].max() < 0.5 + 1e-9


def test_kernels_take_constraints_over(near):
    operator = dn.Operator("spline", "spline", constraints="monotone,bounded", lipschitz=0.6)
    tensors = case(operator, 1, 1)
    tensors["h_parameters"].data[0, 3:6] = -1.0
    options = {"operator": operator}
    expected = outcome(decoupled_conv_reference, tensors, **options)
    for name, value in outcome(decoupled_conv, tensors, **options).items():
        if name != "h_parameters":  # beyond their bounds, where not every gradient passes
            near(value, expected[name], name=name)


# Names and errors. -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text", ["power", "power@linear-sqcos", "spline-spline@ball-cos", "spline-cos", "tanh-power"]
)
def test_shorthands_come_back(text):
    operator = resolve_operator(text)
    assert str(operator) == text
    assert resolve_operator(str(operator)) == operator


def test_the_shorthand_of_two_powers():
    assert resolve_operator("power") == resolve_operator("power-power") == dn.Operator("power", "power")
    assert resolve_operator("spline") == dn.Operator("spline", "spline")


def test_what_is_usual_is_left_out_of_the_repr():
    assert repr(dn.Operator("power")).endswith("k=0.3)")
    assert "lipschitz=2.0" in repr(dn.Operator("spline", lipschitz=2))
    assert dn.Operator("spline", constraints="monotone,bounded") == dn.Operator(
        "spline", constraints=["bounded", "monotone", "bounded"]
    )
    with pytest.raises(TypeError, match=r"start = Operator.* received; needed: the shorthand"):
        dn.Operator("power", start=dn.Operator("seg"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resolve_operator("tanh-cos@ball-cos"), "learns nothing"),
        (lambda: resolve_operator("power@"), "'power@' received"),
        (lambda: resolve_operator("cube"), "'cube' received"),
        (lambda: dn.Operator("power", start="power"), "needed: an operator that is not learned"),
        (lambda: dn.Operator("power", start="cube-cos"), "unknown magnitude 'cube'"),
        (
            lambda: dn.Operator("spline", constraints="convex"),
            "constraint 'convex' received; needed: monotone or",
        ),
        (lambda: dn.Operator("spline", lipschitz=0), "lipschitz = 0 received"),
        (lambda: dn.Operator("spline", channel_groups=0), "channel_groups = 0 received"),
    ],
)
def test_what_does_not_fit_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("options", [{"start": "ball-cos"}, {"channel_groups": 2}, {"lipschitz": 1.0}])
def test_options_of_learned_halves_alone_are_ignored_aloud(options):
    with pytest.warns(UserWarning, match=f"{next(iter(options))} = .* is ignored: tanh-cos learns nothing"):
        dn.Operator("tanh", "cos", **options)


def test_limits_of_a_power_are_ignored_aloud():
    with pytest.warns(UserWarning, match="constraints and lipschitz are ignored: power has no spline"):
        dn.Operator("power", "power", lipschitz=1.0)


@pytest.mark.parametrize("shape", [(16,), (1, 15), (5, 16), (0, 16)])
def test_parameters_of_another_shape_are_refused(shape):
    x, weight = torch.randn(1, 4, 5, 5), torch.randn(6, 2, 3, 3)
    with pytest.raises(ValueError, match=r"h_parameters of shape .* received; needed: \(N, 16\)"):
        decoupled_conv(x, weight, groups=2, operator="spline-cos", h_parameters=torch.ones(shape))


def test_parameters_of_what_is_not_learned_are_refused():
    with pytest.raises(ValueError, match="g_parameters received; needed: None"):
        decoupled_conv(torch.randn(1, 4, 5, 5), torch.randn(6, 4, 3, 3), g_parameters=torch.ones(1, 1))


def test_every_learned_half_says_how_many_parameters_it_starts_with():
    for registry, place in ((magnitudes, 0), (angles, 1)):
        for name in registry:
            half = registry[name].learned
            if half is not None:
                operator = dn.Operator(name) if place == 0 else dn.Operator("tanh", name)
                assert operator.start_parameters()[place].shape == (half.count,)
    assert math.prod(resolve_operator("spline-spline").start_parameters()[0].shape) == 16


@needs_binary
def test_a_radius_for_every_channel_takes_the_composed_path():
    tensors = case(dn.Operator("power"), 1, 1)
    tensors["radius"] = torch.full((12,), 2.3, dtype=torch.float64)
    decoupled_conv(**tensors, operator="power-cos")
    assert "one for every channel" in dn.last_backend().reason
