import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoupled_nets._statistics import Interval, paired, spread, wilson


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_known_values(correct, total, low, high):
    interval = wilson(correct, total)
    assert interval.low == pytest.approx(low, abs=1e-4)
    assert interval.high == pytest.approx(high, abs=1e-4)


def test_wilson_of_nothing_and_of_nonsense():
    assert wilson(0, 0) is None
    with pytest.raises(ValueError, match="3 correct of 2 received; needed: "):
        wilson(3, 2)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share(counted):
    correct, total = counted
    interval = wilson(correct, total)
    assert 0 <= interval.low <= correct / total + 1e-12
    assert correct / total - 1e-12 <= interval.high <= 1


def test_spread():
    assert spread([]) is None
    single = spread([0.5])
    assert (single.mean, single.sd, single.standard_error, single.interval) == (0.5, None, None, None)
    pair = spread([1.0, 3.0])
    assert pair.sd == pytest.approx(math.sqrt(2))
    assert pair.standard_error == pytest.approx(1.0)
    assert pair.interval is None


def test_interval_of_the_mean_is_students():
    # mean 2, sd 1, n = 3: half width 4.303 / sqrt(3)
    interval = spread([1.0, 2.0, 3.0]).interval
    assert interval.high - 2 == pytest.approx(2.484, abs=1e-3)
    many = spread([float(i % 2) for i in range(40)]).interval
    assert many.low < 0.5 < many.high


def test_overlap():
    assert Interval(0, 1).overlaps(Interval(1, 2))
    assert not Interval(0, 1).overlaps(Interval(1.1, 2))


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (0, 5, 0.0625), (5, 0, 0.0625), (1, 9, 22 / 1024), (4, 4, 1.0)]
)
def test_paired_by_hand(gained, lost, p):
    """The exact test of McNemar is a binomial test of the disagreements."""
    first = [True] * lost + [False] * gained + [True] * 6
    second = [False] * lost + [True] * gained + [True] * 6
    found = paired(first, second)
    assert found.p == pytest.approx(p)
    assert found.mean == pytest.approx((gained - lost) / len(first))
    assert found.low <= found.mean <= found.high
    # Half a thing in each cell: of n + 2.
    n, b, c = len(first) + 2, gained + 0.5, lost + 0.5
    half = 1.959964 * ((b + c - (b - c) ** 2 / n) ** 0.5) / n
    assert (found.low, found.high) == pytest.approx(
        (max((b - c) / n - half, -1), min((b - c) / n + half, 1)), abs=1e-6
    )


def test_pairs_are_as_many():
    with pytest.raises(ValueError, match="2 and 1 received"):
        paired([True, False], [True])
    with pytest.raises(ValueError, match="0 and 0 received"):
        paired([], [])


@pytest.mark.parametrize("total", [1, 7, 40, 1000])
def test_wilson_holds_the_share_at_both_ends(total):
    assert wilson(0, total).low == 0
    assert wilson(total, total).high == 1
