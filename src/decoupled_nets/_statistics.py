"""The few statistics a report states, and what each of them can bear."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NORMAL_95 = statistics.NormalDist().inv_cdf(0.975)

# 97.5 % quantiles of Student's t for 1 to 10 degrees of freedom; beyond, the last one is on the safe side
_STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Interval:
    """A closed interval, `low` ≤ `high`."""

    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Whether the two intervals share a point."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Spread:
    """Mean and spread of the same quantity over `n` seeds; `sd` is None for a single one."""

    mean: float
    sd: float | None
    n: int

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean."""
        return None if self.sd is None else self.sd / math.sqrt(self.n)

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the mean by Student's t; None below three values, which say next to nothing."""
        error = self.standard_error
        if error is None or self.n < 3:
            return None
        reach = _STUDENT_95[min(self.n - 1, len(_STUDENT_95)) - 1] * error
        return Interval(self.mean - reach, self.mean + reach)


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation; None without a value.

    >>> spread([1.0, 2.0, 3.0])
    Spread(mean=2.0, sd=1.0, n=3)
    """
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), sd, len(values))


def wilson(correct: int, total: int) -> Interval | None:
    """Wilson's 95 % score interval of a proportion; None when nothing was counted.

    It covers the chance of drawing these test images, not the chance of drawing this seed.

    Raises:
        ValueError: `correct` is not between 0 and `total`.
    """
    if not 0 <= correct <= total:
        raise ValueError(f"{correct} correct of {total} received; needed: 0 <= correct <= total")
    if total == 0:
        return None
    z2 = NORMAL_95**2
    share = correct / total
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = NORMAL_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    # The ends are exact where nothing or everything is right: a rounding must not leave the share outside.
    return Interval(
        max(0.0, centre - half) if correct else 0.0, min(1.0, centre + half) if correct < total else 1.0
    )


def bootstrap(outcomes: Tensor, value: Callable[[Tensor, float], float], resamples: int = 1000) -> Interval:
    """95 % interval of a number over the choice of images, by drawing as many of them again (percentiles).

    Args:
        outcomes: (N, counts): what is kept of each image.
        value: the number from the sums of outcomes over images, and how many images there are.
        resamples: how often they are drawn; always the same draws.
    """

    def drawn(some: Tensor) -> float:
        return value(outcomes[some].sum(0), len(outcomes))

    return resampled(len(outcomes), drawn, resamples)


def resampled(images: int, value: Callable[[Tensor], float], resamples: int = 1000) -> Interval:
    """95 % interval of a number over the choice of images, by drawing as many of them again (percentiles).

    Args:
        images: how many there are.
        value: the number of the images drawn, (images,), some of them several times.
        resamples: how often they are drawn; always the same draws.
    """
    rng = torch.Generator().manual_seed(0)
    drawn = torch.randint(images, (resamples, images), generator=rng)
    values = torch.tensor([value(some) for some in drawn], dtype=torch.float64)
    values = values[~values.isnan()]  # a draw may leave nothing to measure
    if not len(values):
        return Interval(float("nan"), float("nan"))
    low, high = values.quantile(torch.tensor([0.025, 0.975]).double())
    return Interval(float(low), float(high))


@dataclass(frozen=True)
class Paired:
    """How often two were right on the same things: the second's share less the first's.

    Attributes:
        mean: The difference of the shares.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Two-sided, of the exact test of McNemar: how likely at least so uneven a split of the disagreements
            is if both are alike.
        n: How many things.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Compare two on the same things.

    The interval is Wald's with half a thing added to each of the four cells (Agresti and Min, 2005).

    Args:
        first: of each thing, whether the first was right.
        second: likewise.

    Raises:
        ValueError: they are not as many, or none.

    Example:
        >>> found = paired([True] * 8 + [False] * 2, [True] * 4 + [False] * 6)
        >>> round(found.mean, 2), round(found.p, 3)
        (-0.4, 0.125)
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} received; needed: as many of both, at least one")
    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    n, gained, lost = len(pairs), pairs.count((False, True)), pairs.count((True, False))
    total, b, c = n + 2, gained + 0.5, lost + 0.5
    mean = (b - c) / total
    half = NORMAL_95 * math.sqrt(max(b + c - (b - c) ** 2 / total, 0.0)) / total
    apart, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(apart, k) for k in range(fewer + 1)) / 2**apart
    return Paired((gained - lost) / n, max(mean - half, -1.0), min(mean + half, 1.0), min(2 * tail, 1.0), n)
