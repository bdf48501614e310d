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
