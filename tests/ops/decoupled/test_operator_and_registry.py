"""Names of operators, their constants, registration, and what is said when a name does not fit."""

from __future__ import annotations

import math
import pickle

import pytest
import torch

import decoupled_nets as dn
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.magnitude import magnitudes
from decoupled_nets.ops.decoupled.operator import resolve_operator

PAPER_MAGNITUDES = {"sphere", "ball", "tanh", "linear", "seg", "log", "mix"}
PAPER_ANGLES = {"linear", "cos", "sqcos", "sigmoid"}


def test_the_papers_functions_are_registered():
    assert set(magnitudes) >= PAPER_MAGNITUDES
    assert set(angles) >= PAPER_ANGLES
    assert len(magnitudes) == len(list(magnitudes))


@pytest.mark.parametrize("name", magnitudes)
def test_flags_of_a_magnitude_are_true(name):
    magnitude = magnitudes[name]
    norm = torch.linspace(0.01, 50, 500, dtype=torch.float64, requires_grad=True)
    h = {r: dn.Operator(name).h(norm, r) for r in (1.0, 2.0)}
    assert magnitude.bounded == bool(h[1.0].abs().max() <= magnitude.alpha)
    assert magnitude.uses_radius == (not torch.equal(h[1.0], h[2.0]))
    if h[1.0].requires_grad:
        (slope,) = torch.autograd.grad(h[1.0].sum(), norm)
        around = (norm.detach() - 1).abs() < 0.2
        assert magnitude.smooth == bool(slope[around].diff().abs().max() < 0.1)


@pytest.mark.parametrize("name", angles)
def test_an_angle_is_odd_and_goes_from_minus_one_to_one(name):
    cosine = torch.linspace(-1, 1, 201, dtype=torch.float64)
    operator = dn.Operator("sphere", name)
    g = operator.g(cosine)
    torch.testing.assert_close(g, -g.flip(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(g[[0, 100, 200]], torch.tensor([-1.0, 0, 1]).double(), rtol=0, atol=1e-7)
    assert (g.diff() > 0).all()


def test_shorthand():
    assert resolve_operator("seg-sqcos") == dn.Operator("seg", "sqcos")
    assert str(dn.Operator("seg", "sqcos")) == "seg-sqcos"
    operator = dn.Operator("tanh", alpha=2.0)
    assert resolve_operator(operator) is operator


def test_constants_default_to_the_magnitudes_own():
    seg, mix = dn.Operator("seg"), dn.Operator("mix")
    assert (seg.alpha, seg.beta, mix.alpha, mix.beta, seg.k) == (1.0, 0.5, 1.0, 1.0, 0.3)
    assert dn.Operator("test_root").beta == 0.25
    assert dn.Operator("seg", beta=0).beta == 0.0


def test_operators_are_values():
    operator = dn.Operator("seg", "sigmoid", alpha=2, k="learned")
    assert pickle.loads(pickle.dumps(operator)) == operator
    assert len({operator, dn.Operator("seg", "sigmoid", alpha=2.0, k="learned")}) == 1
    assert eval(repr(operator), {"Operator": dn.Operator}) == operator


def test_what_an_operator_knows_of_itself():
    assert dn.Operator("ball").bounded
    assert not dn.Operator("seg").bounded
    assert dn.Operator("seg").uses_radius
    assert not dn.Operator("log").uses_radius
    assert dn.Operator("tanh", "sigmoid", k="learned").learns_k
    with pytest.warns(UserWarning, match="k = 'learned' is ignored"):
        assert not dn.Operator("tanh", "cos", k="learned").learns_k


def test_registering_makes_a_name_usable_until_it_is_removed():
    dn.register_magnitude("test_once", lambda norm, radius, alpha, beta: alpha * norm.square())
    dn.register_angle("test_once", lambda cosine: cosine**5)
    try:
        x, w = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 1.0]])
        y = dn.functional.decoupled_linear(x, w, operator="test_once-test_once", eps=1e-12)
        assert y.item() == pytest.approx(4 * 0.5**2.5)
    finally:
        dn.unregister_magnitude("test_once")
        dn.unregister_angle("test_once")
    with pytest.raises(ValueError, match="unknown magnitude 'test_once'"):
        dn.Operator("test_once")


REGISTER = {"magnitude": dn.register_magnitude, "angle": dn.register_angle}
REMOVE = {"magnitude": dn.unregister_magnitude, "angle": dn.unregister_angle}


@pytest.mark.parametrize("kind", REGISTER)
@pytest.mark.parametrize(
    "name", ["Tanh", "tanh-2", "2tanh", "", " tanh", "tänh", "tanh\n", 3, None], ids=repr
)
def test_malformed_name(kind, name):
    with pytest.raises(ValueError, match=rf"(?s){kind} name .* received; needed: a lower-case identifier"):
        REGISTER[kind](name, lambda *a: a[0])


@pytest.mark.parametrize(("kind", "name"), [("magnitude", "tanh"), ("angle", "cos")])
def test_taken_name(kind, name):
    with pytest.raises(ValueError, match=f"{kind} '{name}' is already registered; needed: another name"):
        REGISTER[kind](name, lambda *a: a[0])


@pytest.mark.parametrize(
    ("kind", "needed"), [("magnitude", r"function of \(norm, radius, alpha, beta\)"), ("angle", "the cosine")]
)
def test_not_a_function(kind, needed):
    with pytest.raises(TypeError, match=rf"{kind} 'test_x': int received; needed: .*{needed}"):
        REGISTER[kind]("test_x", 3)


@pytest.mark.parametrize("kind", REMOVE)
def test_removing_what_is_not_there(kind):
    with pytest.raises(ValueError, match=f"unknown {kind} 'test_x'"):
        REMOVE[kind]("test_x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tahn",), r"unknown magnitude 'tahn' \(did you mean 'tanh'\?\); known: sphere, ball, tanh"),
        (("zzzz",), "unknown magnitude 'zzzz'; known: sphere"),
        (("tanh", "sqcso"), r"unknown angle 'sqcso' \(did you mean 'sqcos'\?\); known: linear, cos"),
        ((["tanh"],), r"unknown magnitude \['tanh'\]"),
        ((None,), "unknown magnitude None"),
    ],
)
def test_unknown_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        dn.Operator(*arguments)


@pytest.mark.parametrize("operator", ["tanh", "tanh-cos-cos", "", "tanhcos", "tanh_cos"])
def test_malformed_shorthand(operator):
    with pytest.raises(ValueError, match=f"operator '{operator}' received; needed: '<magnitude>-<angle>'"):
        resolve_operator(operator)


@pytest.mark.parametrize(("operator", "kind"), [("tanh-", "angle ''"), ("-cos", "magnitude ''")])
def test_half_a_shorthand(operator, kind):
    with pytest.raises(ValueError, match=f"unknown {kind}"):
        resolve_operator(operator)


@pytest.mark.parametrize("operator", [3, None, ("tanh", "cos")], ids=repr)
def test_operator_of_another_type(operator):
    with pytest.raises(TypeError, match=r"operator: \w+ received; needed: an Operator or a string"):
        resolve_operator(operator)


@pytest.mark.parametrize("name", ["alpha", "beta"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_constant_that_is_not_finite(name, value):
    with pytest.raises(ValueError, match=f"{name} = {value} received; needed: a finite number"):
        dn.Operator("seg", **{name: value})


@pytest.mark.parametrize("k", [0, -0.3, math.nan, math.inf, "auto", None], ids=repr)
def test_sharpness_out_of_range(k):
    with pytest.raises(ValueError, match=rf"k = {k!r} received; needed: a positive number or 'learned'"):
        dn.Operator("tanh", "sigmoid", k=k)
