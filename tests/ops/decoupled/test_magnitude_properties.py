"""What magnitude functions say of themselves holds: others go by it."""

from __future__ import annotations

import pytest
import torch

from decoupled_nets.ops.decoupled.magnitude import Magnitude, magnitudes
from decoupled_nets.ops.decoupled.operator import Operator

OURS = [name for name in magnitudes if not name.startswith("test_")]
NORMS = torch.logspace(-2, 2, 41, dtype=torch.float64)


def at(name, norm=NORMS, radius=1.7, alpha=0.8, beta=0.6):
    learned = magnitudes[name].learned
    start = () if learned is None else (Operator(name).start_parameters()[0],)
    return magnitudes[name].fn(norm, radius, alpha, beta, *start)


@pytest.mark.parametrize("name", OURS)
def test_bounded(name):
    bounded = all((at(name, alpha=a, radius=r).abs() <= a).all() for a in (0.3, 2.0) for r in (0.5, 3.0))
    assert magnitudes[name].bounded == bounded


@pytest.mark.parametrize("name", OURS)
def test_what_it_uses(name):
    assert magnitudes[name].uses_radius == (not torch.equal(at(name), at(name, radius=0.9)))
    assert magnitudes[name].uses_beta == (not torch.equal(at(name), at(name, beta=0.1)))


@pytest.mark.parametrize("name", OURS)
def test_smooth(name):
    norm = torch.linspace(1.7 - 1e-6, 1.7 + 1e-6, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad((at(name, norm) + 0 * norm).sum(), norm)
    assert magnitudes[name].smooth == (abs(slope[2] - slope[0]).item() < 1e-4)


@pytest.mark.parametrize("name", OURS)
def test_proportional_to_alpha(name):
    proportional = torch.allclose(at(name, alpha=2.4), 3 * at(name, alpha=0.8), rtol=1e-12)
    assert magnitudes[name].proportional == proportional


@pytest.mark.parametrize("name", OURS)
def test_degree(name):
    scaled = at(name, 3 * NORMS, radius=3 * 1.7)
    found = [d for d in (0, 1, 2) if torch.allclose(scaled, 3.0**d * at(name), rtol=1e-12)]
    assert [magnitudes[name].degree] == (found or [None])


@pytest.mark.parametrize("name", OURS)
def test_may_vanish(name):
    assert (at(name, beta=0.0) > 0).all()
    assert magnitudes[name].may_vanish == bool((at(name, beta=-3.0) <= 0).any())


def test_of_a_function_by_someone_else_nothing_is_assumed():
    entry = Magnitude(lambda norm, radius, alpha, beta: norm)
    assert (entry.proportional, entry.degree, entry.may_vanish, entry.kernel) == (False, None, True, False)
