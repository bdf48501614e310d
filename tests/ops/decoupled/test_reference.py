"""The oracle itself, against numbers worked out by hand and against ``torch.nn.functional.unfold``."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from decoupled_cases import make_tensors

from decoupled_nets.ops.decoupled.reference import cut_patches, decoupled_conv_reference
from decoupled_nets.ops.geometry import Geometry

# ‖x‖ = 5, ‖w‖ = 2, the angle is 60°, ρ = 4.
X = torch.tensor([[5.0, 0.0]], dtype=torch.float64)
W = torch.tensor([[1.0, math.sqrt(3.0)]], dtype=torch.float64)
MAGNITUDE = {
    "sphere": 1.0,
    "ball": 1.0,
    "tanh": math.tanh(1.25),
    "linear": 5.0,
    "seg": 4.5,
    "log": math.log(6),
    "mix": 5 + math.log(6),
}
COSH = (1 + math.exp(-math.pi / 0.6)) / (1 - math.exp(-math.pi / 0.6))
TAIL = math.exp((math.pi / 3 - math.pi / 2) / 0.3)
ANGLE = {"linear": 1 / 3, "cos": 0.5, "sqcos": 0.25, "sigmoid": COSH * (1 - TAIL) / (1 + TAIL)}


@pytest.mark.parametrize("angle", ANGLE)
@pytest.mark.parametrize("magnitude", MAGNITUDE)
def test_by_hand(magnitude, angle):
    actual = decoupled_conv_reference(X, W, operator=f"{magnitude}-{angle}", radius=4.0, eps=1e-16)
    assert actual.item() == pytest.approx(MAGNITUDE[magnitude] * ANGLE[angle], rel=1e-12)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [
        ("linear", 2 * math.tanh(5 / 4)),
        ("product", math.tanh(10 / 4)),
        ("separate", math.tanh(2 / 4) * math.tanh(5 / 4)),
    ],
)
def test_weightings_by_hand(weighting, expected):
    options = {"operator": "tanh-cos", "radius": 4.0, "weighting": weighting, "eps": 1e-16}
    assert decoupled_conv_reference(X, W, **options).item() == pytest.approx(0.5 * expected, rel=1e-12)
    # α counts once, also in Eq. 16.
    doubled = decoupled_conv_reference(X, W, alpha=2.0, **options).item()
    assert doubled == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("geometry", [{}, {"stride": 2, "padding": (1, 0), "dilation": (1, 2)}])
def test_patches_are_those_of_unfold(geometry):
    x = make_tensors((6, 7))["input"]
    patches = cut_patches(x, Geometry.of((3, 2), **geometry))
    assert torch.equal(patches.flatten(2).mT, F.unfold(x, (3, 2), **geometry))
