"""What learned halves start as, what holds them, and what is said when an option does not fit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import decoupled_nets as dn
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.functional import decoupled_conv
from decoupled_nets.ops.decoupled.learned import SPLINE_OF_G, Limits, spline_of_turn
from decoupled_nets.ops.decoupled.magnitude import magnitudes
from decoupled_nets.ops.decoupled.operator import resolve_operator


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


def test_a_lipschitz_bound_that_cuts_makes_g_smaller_and_alpha_multiplies_that_of_h():
    """By as much as docs/learned-operators.md says."""
    turn = torch.linspace(-8, 8, 160_001, dtype=torch.float64)
    weight = torch.exp(-turn * turn / 2)

    def mean_square(lipschitz):
        operator = dn.Operator("tanh", "spline", start="tanh-sqcos", lipschitz=lipschitz)
        g = operator.g(turn / 12, fan_in=144) * 12
        return float((g * g * weight).sum() / weight.sum())

    assert mean_square(None) == pytest.approx(1, abs=1e-4)
    found = [f"{mean_square(lipschitz):.2f}" for lipschitz in (1, 1.5, 2)]
    page = " ".join((Path(__file__).parents[3] / "docs" / "learned-operators.md").read_text("utf-8").split())
    assert "{} with `lipschitz=1`, {} with 1.5 and {} with 2".format(*found) in page
    steep = dn.Operator("spline", "cos", start="linear-cos", lipschitz=1.0, alpha=3.0)
    size = torch.tensor([0.5, 0.6], dtype=torch.float64)
    assert float(steep.h(size).diff() / size.diff()) == pytest.approx(3)
    assert "with `alpha=3` it is 3" in page


# Names and errors. -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "power", "power@linear-sqcos", "spline-spline@ball-cos", "spline-cos", "tanh-power", "power+groups=4",
        "spline-cos@ball-cos+bounded+monotone+lipschitz=2.5+groups=8", "tanh-spline+lipschitz=1e-05",
        "tanh-spline+lipschitz=1e25",
    ],
)  # fmt: skip
def test_shorthands_come_back(text):
    operator = resolve_operator(text)
    assert str(operator) == text
    assert resolve_operator(str(operator)) == operator


def test_options_behind_a_plus_are_those_of_the_operator():
    found = resolve_operator("spline-spline@seg-cos+groups=3+lipschitz=2+monotone")
    options = {"start": "seg-cos", "channel_groups": 3, "lipschitz": 2.0, "constraints": "monotone"}
    assert found == dn.Operator("spline", "spline", **options)
    assert str(found) == "spline-spline@seg-cos+monotone+lipschitz=2.0+groups=3"
    assert resolve_operator(str(found)) == found


def test_the_shorthand_of_two_powers():
    assert resolve_operator("power") == resolve_operator("power-power") == dn.Operator("power", "power")
    assert resolve_operator("spline") == dn.Operator("spline", "spline")


@pytest.mark.parametrize("magnitude", ["power", "spline"])
def test_a_magnitude_alone_has_the_cosine_whatever_the_start(magnitude):
    operator = dn.Operator(magnitude, start="linear-sqcos")
    assert str(operator) == f"{magnitude}-cos@linear-sqcos"
    assert operator.start_parameters()[1] is None
    assert f"``{dn.Operator('power')}`` and takes" in dn.Operator.__doc__


def test_what_is_usual_is_left_out_of_the_repr():
    assert repr(dn.Operator("power")).endswith("k=0.3)")
    assert "lipschitz=2.0" in repr(dn.Operator("spline", lipschitz=2))
    assert dn.Operator("spline", constraints="monotone,bounded") == dn.Operator(
        "spline", constraints=["bounded", "monotone", "bounded"]
    )
    with pytest.raises(TypeError, match=r"start = Operator.* received; needed: the shorthand"):
        dn.Operator("power", start=dn.Operator("seg"))


def test_whole_numbers_of_numpy_are_taken():
    operator = dn.Operator("spline", channel_groups=np.int64(4))
    assert operator == dn.Operator("spline", channel_groups=4)
    assert type(operator.channel_groups) is int


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resolve_operator("tanh-cos@ball-cos"), "learns nothing"),
        (lambda: resolve_operator("tanh-cos+groups=2"), "needed: no options, because tanh-cos learns noth"),
        (lambda: resolve_operator("power+monotone"), "'power.monotone' received; needed: a spline"),
        (
            lambda: resolve_operator("spline+bounded@ball-cos"),
            "needed: @START before the options, as spline@START",
        ),
        (lambda: resolve_operator("spline+convex"), "option 'convex' received; needed: monotone, bounded, l"),
        (
            lambda: resolve_operator("spline+groups"),
            "option 'groups' received; needed: .* groups=NUMBER, eac",
        ),
        (lambda: resolve_operator("spline+groups=2.5"), "option 'groups=2.5' received"),
        (lambda: resolve_operator("spline+groups=2+groups=3"), "option 'groups=3' received"),
        (lambda: resolve_operator("spline+monotone+monotone"), "option 'monotone' received; .* each once"),
        (lambda: resolve_operator("spline+groups=0"), "channel_groups = 0 received"),
        (lambda: resolve_operator("spline-cos+tanh-cos"), "option 'tanh-cos' received"),
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
        (lambda: dn.Operator("spline", channel_groups=2.0), "channel_groups = 2.0 received"),
        (lambda: dn.Operator("spline", channel_groups=True), "channel_groups = True received"),
    ],
)
def test_what_does_not_fit_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.fixture
def strange():
    """A magnitude below 0, one that is 0 in part, and angles of either kind."""
    dn.register_magnitude("test_neg", lambda norm, radius, alpha, beta: -norm)
    dn.register_magnitude("test_late", lambda norm, radius, alpha, beta: (norm - 1).clamp(min=0))
    dn.register_magnitude("test_none", lambda norm, radius, alpha, beta: 0 * norm)
    dn.register_angle("test_zero", lambda cosine: 0 * cosine)
    dn.register_angle("test_back", lambda cosine: -cosine)
    yield
    for name in ("test_neg", "test_late", "test_none"):
        dn.unregister_magnitude(name)
    for name in ("test_zero", "test_back"):
        dn.unregister_angle(name)


@pytest.mark.parametrize(
    "text",
    [
        "power@test_neg-cos", "power@test_late-cos", "power@test_none-cos", "power@tanh-test_zero",
        "power@tanh-test_back", "tanh-power@tanh-test_back",
    ],
)  # fmt: skip
def test_a_power_refuses_a_start_that_is_none(strange, text):
    start = text.partition("@")[2]
    message = f"start = '{start}' received; needed: functions that are finite and not 0, and positive for a"
    with pytest.raises(ValueError, match=message):
        resolve_operator(text)


def test_a_spline_takes_a_start_below_0_and_refuses_one_that_is_0(strange):
    h, g = dn.Operator("spline", "spline", start="test_neg-test_back").start_parameters()
    assert h.tolist() == pytest.approx([-1] * 16)
    assert g.tolist() == pytest.approx([-1] * 4)
    for start in ("test_none-cos", "tanh-test_zero"):
        with pytest.raises(ValueError, match=f"start = '{start}' received; needed: .* finite and not 0$"):
            dn.Operator("spline", "spline", start=start)
    for start in ("test_neg-cos", "tanh-test_back"):
        with pytest.raises(ValueError, match="finite and not 0 when monotone"):
            dn.Operator("spline", "spline", start=start, constraints="monotone")


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
