"""The shortest way to a hyperplane within the box, beside brute force."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decoupled_nets.robustness.hyperplane import onto_hyperplane


def by_halving(points, normal, gap, norm: str) -> torch.Tensor:
    """How far each pixel goes, found by halving of its time, in float64."""
    way = -normal.sign() * gap.sign()[:, None]
    pace = normal.abs() if norm == "l2" else torch.ones_like(normal)
    room = torch.where(way > 0, 1 - points, points)
    low, high = torch.zeros(len(points), 1).double(), torch.full((len(points), 1), 1e9).double()
    for _ in range(300):
        middle = (low + high) / 2
        closed = (normal.abs() * torch.minimum(middle * pace, room)).sum(1, keepdim=True)
        short = closed < gap.abs()[:, None]
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return way * torch.minimum(high * pace, room)


@given(st.integers(0, 10_000), st.sampled_from(["linf", "l2"]), st.sampled_from([1e-6, 1.0, 1e6]))
def test_the_way_is_the_shortest(seed: int, norm: str, scale: float) -> None:
    torch.manual_seed(seed)
    points = torch.rand(8, 12).double().round(decimals=seed % 3 or 9)
    normal = (torch.randn(8, 12).double() * (torch.rand(8, 12) > 0.3)) * scale
    reach = (normal.abs().sum(1) * torch.rand(8)).double()
    gap = reach * torch.randn(8).double()
    change = onto_hyperplane(points, normal, gap, norm)
    assert ((points + change) >= -1e-12).all()
    assert ((points + change) <= 1 + 1e-12).all()
    torch.testing.assert_close(change, by_halving(points, normal, gap, norm), atol=1e-9, rtol=1e-7)
    left = gap + (normal * change).sum(1)
    room = torch.where(-normal * gap[:, None] > 0, 1 - points, points)
    within = (normal.abs() * room).sum(1) > gap.abs()
    torch.testing.assert_close(left[within], torch.zeros_like(left[within]), atol=1e-9 * scale, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_other_point_of_the_hyperplane_is_nearer(norm: str) -> None:
    """A million random points of the box on it, in three dimensions."""
    points = torch.tensor([[0.1, 0.9, 0.4]]).double()
    normal, gap = torch.tensor([[1.0, -2.0, 0.5]]).double(), torch.tensor([-1.1]).double()
    change = onto_hyperplane(points, normal, gap, norm)
    size = change.abs().max() if norm == "linf" else change.norm()
    others = torch.rand(1_000_000, 3).double()
    # The last pixel is set so that the point lies on the hyperplane.
    others[:, 2] = points[0, 2] - (gap + (normal[0, :2] * (others[:, :2] - points[0, :2])).sum(1)) / 0.5
    others = others[(others[:, 2] >= 0) & (others[:, 2] <= 1)] - points
    sizes = others.abs().amax(1) if norm == "linf" else others.norm(dim=1)
    assert size <= sizes.min() + 1e-9
    assert sizes.min() < size * 1.02


def test_without_a_slope_or_a_gap_nothing_moves() -> None:
    points = torch.rand(2, 3, 2, 2)
    for norm in ("linf", "l2"):
        assert not onto_hyperplane(points, torch.zeros_like(points), torch.ones(2), norm).any()
        assert not onto_hyperplane(points, torch.randn_like(points), torch.zeros(2), norm).any()
