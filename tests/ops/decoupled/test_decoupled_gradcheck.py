"""First and second derivatives against finite differences."""

from __future__ import annotations

import pytest
import torch
from decoupled_cases import OPERATORS, WEIGHTED, make_tensors
from torch.autograd import gradcheck, gradgradcheck

from decoupled_nets.ops.decoupled.angle import angles, asin
from decoupled_nets.ops.decoupled.call import Operands
from decoupled_nets.ops.decoupled.functional import (
    decoupled_conv,
    decoupled_linear,
    measure_conv,
    respond,
)
from decoupled_nets.ops.decoupled.learned import power_of_size, power_of_turn
from decoupled_nets.ops.decoupled.operator import resolve_operator


def small(**options):
    """A function of all seven tensors, and the tensors."""
    tensors = make_tensors((2, 3), (2, 2), batch=1, channels=2, out=2, groups=1)

    def fn(*values):
        return decoupled_conv(**dict(zip(tensors, values, strict=True)), **options)

    return fn, tuple(tensors.values())


@pytest.mark.parametrize("weighting", WEIGHTED)
@pytest.mark.parametrize("operator", OPERATORS)
def test_gradcheck(operator, weighting):
    assert gradcheck(*small(operator=operator, weighting=weighting, padding=(1, 0)))


@pytest.mark.parametrize("weighting", WEIGHTED)
@pytest.mark.parametrize("operator", OPERATORS)
def test_gradgradcheck(operator, weighting):
    assert gradgradcheck(*small(operator=operator, weighting=weighting), fast_mode=True)


def at_its_start(operator):
    """A function of input, weight and learned parameters, and these."""
    tensors = make_tensors((2, 3), (2, 2), batch=1, channels=2, out=2, groups=1)
    # As layers hold them: 1, not the number next to it.
    starts = [
        start[None].float().double().requires_grad_()
        for start in resolve_operator(operator).start_parameters()
    ]

    def fn(input, weight, h, g):
        return decoupled_conv(input, weight, operator=operator, radius=2.3, h_parameters=h, g_parameters=g)

    return fn, (tensors["input"], tensors["weight"], *starts)


@pytest.mark.parametrize("operator", ["power", "power@linear-sqcos", "spline-spline"])
def test_learned_parameters_from_their_start(operator):
    """Where exponents are 0 in the formulas, and not beside it."""
    fn, inputs = at_its_start(operator)
    assert gradcheck(fn, inputs)
    assert gradgradcheck(fn, inputs)


def test_a_power_that_starts_as_a_sphere():
    """At the end of its range, below which nothing changes: against the exponent next to it."""
    fn, (x, weight, q, p) = at_its_start("power@sphere-cos")
    assert q.item() == 0
    found = []
    for at in (q, (q + 1e-7).detach().requires_grad_()):
        (by_input,) = torch.autograd.grad(fn(x, weight, at, p).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(by_input.square().sum(), at)[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=0)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is not supported:FutureWarning")
def test_forward_modes_of_a_power_take_no_gradients():
    """Nor do they need them to be allowed."""
    size = torch.tensor([0.5, 2.0], dtype=torch.float64)

    def fn(exponent, size):
        return power_of_size(size, 1.0, exponent).sum()

    with torch.no_grad():
        mixed = torch.func.jacfwd(torch.func.jacfwd(fn, 1), 0)(torch.zeros(1, dtype=torch.float64), size)
    torch.testing.assert_close(mixed[:, 0], 1 / size)


EXPONENTS = [0.0, 0.4, 1.0, 1.5]


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_powers(exponent):
    at = torch.tensor([exponent], dtype=torch.float64, requires_grad=True)
    size = torch.tensor([0.3, 1.0, 7.0], dtype=torch.float64, requires_grad=True)
    turn = torch.tensor([-3.0, -0.2, 0.0, 0.1, 2.0], dtype=torch.float64, requires_grad=True)
    for inputs in ((size, at), (turn, at)):
        fn = power_of_turn if inputs[0] is turn else lambda u, q: power_of_size(u, 1.0, q)
        assert gradcheck(fn, inputs)
        assert gradgradcheck(fn, inputs)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_powers_have_the_bits_of_torchs_and_finite_derivatives(exponent, dtype):
    at = torch.tensor([exponent], dtype=dtype, requires_grad=True)
    size = torch.tensor([1e-30, 1e-3, 1.0, 900.0, 1e20], dtype=dtype, requires_grad=True)
    value = power_of_size(size, 1.0, at)
    assert torch.equal(value, size ** at.detach())
    with torch.no_grad():
        assert torch.equal(value, power_of_size(size, 1.0, at))
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(value.sum(), (size, at)))
    zero = torch.zeros(1, dtype=dtype)
    assert torch.equal(power_of_size(zero, 1.0, at), zero ** at.detach())


@pytest.mark.parametrize("angle", angles)
def test_linear_layer(angle):
    tensors = make_tensors((), (), batch=2, channels=3, out=2, groups=1)

    def fn(*values):
        options = {"operator": f"tanh-{angle}", "weighting": "product"}
        return decoupled_linear(**dict(zip(tensors, values, strict=True)), **options)

    assert gradcheck(fn, tuple(tensors.values()))
    assert gradgradcheck(fn, tuple(tensors.values()), fast_mode=True)


@pytest.mark.parametrize("operator", ["tanh-linear", "tanh-cos", "seg-sqcos"])
def test_radius_that_depends_on_the_patch_norms(operator):
    tensors = make_tensors((2, 3), (2, 2), batch=1, channels=2, out=2, groups=1)

    def fn(input, weight, scale):
        call, operands = measure_conv(Operands(input, weight), operator=operator)
        return respond(call, operands._replace(radius=scale * operands.norm.mean()))

    assert gradcheck(fn, (tensors["input"], tensors["weight"], tensors["radius"]))
    assert gradgradcheck(fn, (tensors["input"], tensors["weight"], tensors["radius"]), fast_mode=True)


# torch itself still scripts the formulas of some forward derivatives when they are first asked for.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is not supported:FutureWarning")
@pytest.mark.parametrize("mode", ["forward", "backward over forward"])
@pytest.mark.parametrize("operator", ["tanh-cos", "seg-sigmoid", "ball-linear"])
def test_forward_mode(operator, mode):
    fn, tensors = small(operator=operator)
    if mode == "forward":
        assert gradcheck(fn, tensors, check_forward_ad=True, check_backward_ad=False)
    else:
        assert gradgradcheck(fn, tensors, check_fwd_over_rev=True, fast_mode=True)


def test_asin_inside_its_range():
    x = torch.linspace(-0.999, 0.999, 21, dtype=torch.float64, requires_grad=True)
    assert torch.equal(asin(x), torch.asin(x))
    assert gradcheck(asin, x)
    assert gradgradcheck(asin, x)
