"""Whether operators differ from a baseline, and what a comparison of this size could have seen at all.

Every run leaves one score an image: whether it was classified correctly, or how well it was segmented. Seeds
and images are crossed: all runs are tested on the same images. A difference to the baseline, paired by seed
and image, is a mean plus what this seed adds, what this image adds, and a rest::

    d[s, i] = μ + a[s] + b[i] + e[s, i]

An interval for μ has to cover another draw of seeds *and* of images.

A metric that is no mean over images (mIoU) gives each image what it adds to the metric of all: its
pseudo-value, by leaving the image out (Tukey's jackknife).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Verdict = Literal["better", "worse", "alike", "undecided"]

LEVEL = 0.95
POWER = 0.8
RESAMPLES = 4_000
MOST_SEEDS = 1_000_000
_AT_ONCE = 2**24  # numbers that a part of the resampling holds


@dataclass(frozen=True)
class Components:
    """Variances of a crossed table of differences: of seeds, of images, and of the rest; none below 0."""

    seeds: float
    images: float
    rest: float

    def parts(self, seeds: int, images: int) -> tuple[float, float]:
        """What seeds and images add to the variance of a mean over so many, each with the rest's share."""
        return (self.seeds + self.rest / images) / seeds, (self.images + self.rest / seeds) / images

    def of_mean(self, seeds: int, images: int) -> float:
        """The variance of a mean over so many seeds and images."""
        return sum(self.parts(seeds, images)) - self.rest / (seeds * images)


@dataclass(frozen=True)
class Difference:
    """How an operator differs from the baseline, in the unit of the scores: its own less the baseline's.

    Attributes:
        mean: over seeds and images.
        seeds: how many seeds both finished.
        images: how many images.
        components: the variances behind it; None with one seed, which says nothing of others.
        reach: how far the interval extends to both sides.
        widening: by how much it is wider than an interval for this operator alone, so that those of all
            operators of the comparison hold at once in 95 of 100 cases.
        operators: how many those are.
        ahead: the share of resampled comparisons in which the operator is better.
        better: which way is better.
    """

    mean: float
    seeds: int
    images: int
    components: Components | None = None
    reach: float = math.inf
    widening: float = 1.0
    operators: int = 1
    ahead: float = math.nan
    better: Literal["higher", "lower"] = "higher"

    @property
    def interval(self) -> tuple[float, float] | None:
        """The simultaneous 95 % interval; None with one seed."""
        return None if self.components is None else (self.mean - self.reach, self.mean + self.reach)

    @property
    def detectable(self) -> float | None:
        """The difference that a comparison of this size finds in 80 of 100 cases; None with one seed."""
        return None if self.components is None else self._detectable(self.seeds)

    def _detectable(self, seeds: int) -> float:
        assert self.components is not None
        alone, at_once = self._reaches(seeds)
        _, at_once_here = self._reaches(self.seeds)
        # What is known of this comparison's own operators is kept; what few seeds add to it is not.
        widening = max(1.0, at_once * self.widening / at_once_here)
        error = math.sqrt(self.components.of_mean(seeds, self.images))
        return widening * alone + NormalDist().inv_cdf(POWER) * error

    @functools.cache  # noqa: B019  (small, and as long as the difference)
    def _reaches(self, seeds: int) -> tuple[float, float]:
        """How far the interval of one operator reaches with so many seeds, and by how much that of all does.

        Operators share the baseline: half of the variance of each difference.
        """
        assert self.components is not None
        by_seeds, by_images = (math.sqrt(part) for part in self.components.parts(seeds, self.images))
        generator = np.random.default_rng(2)
        own = generator.standard_normal((2, RESAMPLES, self.operators))
        shared = generator.standard_normal((2, RESAMPLES, 1))
        normal = (own + shared) / math.sqrt(2)
        wide = np.stack([_widened(seeds, RESAMPLES, 3 + k) for k in range(self.operators)], 1)
        drawn = np.abs(normal[0] * by_seeds * wide + normal[1] * by_images)
        alone = float(np.quantile(drawn[:, 0], LEVEL))
        each = np.quantile(drawn, LEVEL, axis=0)
        return alone, float(np.quantile((drawn / np.where(each > 0, each, 1.0)).max(1), LEVEL)) or 1.0

    def seeds_for(self, difference: float) -> int | None:
        """How many seeds find a difference of this size in 80 of 100 cases; None if no number does.

        The images stay as many as they are: what they add does not shrink with more seeds.

        Raises:
            ValueError: the difference is not positive.
        """
        if not difference > 0:
            raise ValueError(f"difference = {difference} received; needed: a positive number")
        if self.components is None or self._detectable(MOST_SEEDS) > difference:
            return None
        low, high = 1, MOST_SEEDS  # the first is too few, the last enough
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._detectable(middle) <= difference else (middle, high)
        return high

    def verdict(self, margin: float) -> Verdict:
        """What the interval allows to say, where differences up to `margin` do not matter."""
        if self.interval is None:
            return "undecided"
        low, high = self.interval
        if low > 0 or high < 0:
            return "better" if (low > 0) == (self.better == "higher") else "worse"
        return "alike" if max(-low, high) <= margin else "undecided"


def differences(
    scores: Mapping[str, Mapping[int, Scores]],
    baseline: str,
    *,
    better: Literal["higher", "lower"] = "higher",
    resamples: int = RESAMPLES,
) -> dict[str, Difference]:
    """Every operator's difference to the baseline, paired by seed and image.

    Intervals come from a crossed bootstrap: seeds and images are weighted at random, all operators alike, and
    the widest of the deviations counts (weights as in Rubin 1981; products of them, Owen and Eckles 2012). A
    bootstrap's own variance is too small with few seeds: what seeds and what images add is scaled to its
    unbiased estimate, and with it goes how uncertain that estimate is, as in Student's t.

    Args:
        scores: for every operator and seed the images' scores (N,). A seed that the baseline lacks does not
            count.
        baseline: the operator that all others are compared with.
        better: which scores are better.
        resamples: how often seeds and images are drawn.

    Returns:
        One for each operator that shares a seed with the baseline, but the baseline.

    Raises:
        ValueError: runs were scored on different numbers of images, or the baseline is missing.

    Example:
        >>> import numpy as np
        >>> generator = np.random.default_rng(0)
        >>> easy = generator.random(500)
        >>> def run(ability):
        ...     return (easy < ability + generator.normal(0, 0.01)).astype(float)
        >>> scores = {name: {seed: run(ability) for seed in range(5)} for name, ability in
        ...           {"conv": 0.80, "tanh-cos": 0.85}.items()}
        >>> found = differences(scores, "conv")["tanh-cos"]
        >>> round(found.mean, 3), found.verdict(margin=0.01)
        (0.06, 'better')
    """
    if baseline not in scores:
        raise ValueError(f"baseline {baseline!r} received; needed: one of {sorted(scores)}")
    sizes = {len(run) for runs in scores.values() for run in runs.values()}
    if len(sizes) > 1 or 0 in sizes:
        raise ValueError(f"runs scored on {sorted(sizes)} images received; needed: as many for all")
    tables: dict[str, tuple[list[int], Scores]] = {}
    for name, runs in scores.items():
        seeds = sorted(set(runs) & set(scores[baseline]))
        if name != baseline and seeds:
            tables[name] = seeds, np.stack([runs[s] - scores[baseline][s] for s in seeds]).astype(float)
    found = {
        name: Difference(float(d.mean()), len(seeds), d.shape[1], better=better)
        for name, (seeds, d) in tables.items()
    }
    known = {name: table for name, table in tables.items() if min(table[1].shape) > 1}
    if not known:
        return found
    deviations = _deviations(known, resamples)
    alone = {name: float(np.quantile(np.abs(d), LEVEL)) for name, d in deviations.items()}
    shares = [np.abs(d) / (alone[name] or 1.0) for name, d in deviations.items()]
    widening = float(np.quantile(np.max(shares, axis=0), LEVEL)) if len(known) > 1 else 1.0
    for name, deviation in deviations.items():
        found[name] = dataclasses.replace(
            found[name], components=components(known[name][1]), reach=widening * alone[name],
            widening=widening, operators=len(known), ahead=_ahead(found[name].mean + deviation, better),
        )  # fmt: skip
    return found


def _ahead(means: Scores, better: Literal["higher", "lower"]) -> float:
    return float(((means > 0) if better == "higher" else (means < 0)).mean())


def pseudo_values(outcomes: NDArray[np.int64], value: Callable[[NDArray[np.int64], int], float]) -> Scores:
    """What each image adds to a metric of all of them, (N,): their mean is the metric, but for its bias.

    Source: J. Tukey, "Bias and confidence in not-quite large samples", 1958.

    Args:
        outcomes: (N, counts): what is kept of each image.
        value: the metric, from sums of outcomes over images and how many these are.

    Example:
        >>> import numpy as np
        >>> pseudo_values(np.array([[1], [0], [1]]), lambda totals, images: totals[0] / images).round(6)
        array([1., 0., 1.])
    """
    images, totals = len(outcomes), outcomes.sum(0)
    without = [value(totals - own, images - 1) for own in outcomes]
    return _pseudo(value(totals, images), without)


def left_out(images: int, value: Callable[[NDArray[np.int64]], float]) -> Scores:
    """Pseudo-values of a metric that is made of all images at once, (N,).

    Args:
        images: how many there are.
        value: the metric, where images count as often as (N,) numbers say.
    """
    once = np.ones(images, dtype=np.int64)
    places = np.arange(images)
    every = value(once)
    without = [value(once - (places == k)) for k in range(images)]
    # Without its only object a metric may be none: then the image adds what all have.
    return _pseudo(every, [every if own != own else own for own in without])


def _pseudo(every: float, without: list[float]) -> Scores:
    images = len(without)
    return images * every - (images - 1) * np.asarray(without, dtype=np.float64)


def difference_from_dict(raw: dict[str, Any]) -> Difference:
    """A :class:`Difference` from its JSON form, in which a number that is not finite is null."""
    parts = raw["components"]
    return Difference(
        **{
            **raw,
            "components": None if parts is None else Components(**parts),
            "reach": math.inf if raw["reach"] is None else raw["reach"],
            "ahead": math.nan if raw["ahead"] is None else raw["ahead"],
        }
    )


def components(table: Scores) -> Components:
    """The variances of a table (seeds, images), by moments; a negative one is 0.

    Source: S. Searle, G. Casella, C. McCulloch, "Variance Components", 1992, the two-way table.

    Raises:
        ValueError: there are fewer than two seeds or images.
    """
    seeds, images = table.shape
    if seeds < 2 or images < 2:
        raise ValueError(f"{seeds} seeds and {images} images received; needed: at least 2 of each")
    by_seed, by_image = table.mean(1), table.mean(0)
    rest = table - by_seed[:, None] - by_image[None, :] + table.mean()
    of_rest = float((rest**2).sum() / ((seeds - 1) * (images - 1)))
    of_seeds = float(by_seed.var(ddof=1)) - of_rest / images
    of_images = float(by_image.var(ddof=1)) - of_rest / seeds
    return Components(max(0.0, of_seeds), max(0.0, of_images), of_rest)


def _deviations(tables: Mapping[str, tuple[list[int], Scores]], resamples: int) -> dict[str, Scores]:
    """How far a mean may be from its true value by other seeds and images, (resamples,) for each operator."""
    generator = np.random.default_rng(0)
    every = sorted({seed for seeds, _ in tables.values() for seed in seeds})
    images = next(iter(tables.values()))[1].shape[1]
    of_seeds = generator.standard_exponential((resamples, len(every)))
    by_images: dict[str, list[Scores]] = {name: [] for name in tables}
    step = max(1, _AT_ONCE // images)
    for start in range(0, resamples, step):
        weights = generator.standard_exponential((min(step, resamples - start), images))
        weights /= weights.sum(1, keepdims=True)
        for name, (_, table) in tables.items():
            by_images[name].append(weights @ table.mean(0))
    found = {}
    for number, (name, (seeds, table)) in enumerate(tables.items()):
        own = of_seeds[:, [every.index(seed) for seed in seeds]]
        by_seeds = (own * table.mean(1)).sum(1) / own.sum(1)
        parts = components(table).parts(*table.shape)
        # Every operator's variance is drawn on its own: they share a baseline, but not all that varies.
        wide = _widened(len(seeds), resamples, 10 + number)
        images_part = _scaled(np.concatenate(by_images[name]), parts[1], 1_000 + number)
        found[name] = _scaled(by_seeds, parts[0], 2_000 + number) * wide + images_part
    return found


def _widened(seeds: int, count: int, seed: int) -> Scores:
    """Factors that make normal numbers those of Student's t: the variance of few seeds is uncertain."""
    drawn = np.random.default_rng(seed).chisquare(seeds - 1, count)
    return np.sqrt((seeds - 1) / drawn)


def _scaled(deviations: Scores, variance: float, seed: int) -> Scores:
    """The deviations with mean 0 and this variance.

    Where none of them deviates, as of two seeds whose means are equal by chance, normal ones stand in.
    """
    centred, spread = deviations - deviations.mean(), float(deviations.std())
    if spread <= 1e-12 * (1 + abs(deviations.mean())):
        centred, spread = np.random.default_rng(seed).standard_normal(len(deviations)), 1.0
    return centred * (math.sqrt(variance) / spread)
