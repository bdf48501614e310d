"""What our runs say of each hypothesis: it holds, it fails, or this design cannot tell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..reports.decision import Difference, Scores, differences
from ..reports.results import Run
from .metrics import METRICS
from .table import NOT_CONVERGED, Hypothesis, Table

Word = Literal["holds", "fails", "undecided", "not made"]
#: Scores of images by cell and seed, mostly each 0 or 1, or one number a run; of every metric a higher one is
#: better.
OfCells = Mapping[str, Mapping[int, Scores]]
#: A run whose loss is still at this part of the loss of a guess has not converged.
_STUCK = 0.9


@dataclass(frozen=True)
class Verdict:
    """A hypothesis beside what was found; differences say by how much the cell is better, in percent.

    Attributes:
        hypothesis: What was said before.
        word: Whether it holds.
        paper: The paper's own difference; None: it has no figures of both cells.
        difference: Ours, in shares of the images or of the worse cell's figure; None: there are no runs of
            both cells with the same seed.
        reason: Why, in words.
        exact: Our difference where it is counted, in the unit of the metric.
    """

    hypothesis: Hypothesis
    word: Word
    paper: float | None
    difference: Difference | None
    reason: str
    exact: float | None = None

    @property
    def mean(self) -> float | None:
        """Our difference, in percent or percentage points, or in the unit of a counted figure."""
        if self.exact is not None:
            return self.exact
        return None if self.difference is None else 100 * self.difference.mean

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its interval, which holds at once with those of all hypotheses, in the same."""
        ends = None if self.difference is None else self.difference.interval
        return None if ends is None else (100 * ends[0], 100 * ends[1])

    @property
    def text(self) -> str:
        """The word and the reason."""
        word = "undecided at this scale" if self.word == "undecided" else self.word
        return f"{word}: {self.reason}" if self.reason else word


def paper_difference(table: Table, one: Hypothesis) -> float | None:
    """By how much the paper's figure of the cell is better than that of the other."""
    own, other = table.figure(one.cell, one.metric), table.figure(one.against, one.metric)
    if isinstance(own, str) or isinstance(other, str) or own is None or other is None:
        return None
    return METRICS[one.metric].gain(own, other)


def reference(one: Hypothesis, scores: Mapping[str, OfCells]) -> float:
    """What a difference is divided by: 1, or where it is relative the worse of both figures."""
    if not METRICS[one.metric].relative or not one.against:
        return 1.0
    cells = scores.get(one.metric, {})
    shared = _shared(one, cells)
    means = [
        abs(float(np.mean([cells[cell][seed].mean() for seed in shared])))
        for cell in (one.cell, one.against)
        if shared
    ]
    return max(means, default=0.0) or 1.0


def _shared(one: Hypothesis, cells: OfCells) -> list[int]:
    own = set(cells.get(one.cell, {}))
    return sorted(own if one.direction == "positive" else own & set(cells.get(one.against, {})))


def contrasts(hypotheses: Sequence[Hypothesis], scores: Mapping[str, OfCells]) -> dict[int, Difference]:
    """The difference of every hypothesis, paired by seed and image; their intervals hold at once.

    Args:
        hypotheses: those about convergence do not count.
        scores: by metric those of the cells; higher is better.

    Returns:
        By the hypothesis's place; one whose cells share no seed is left out.
    """
    tables: dict[str, dict[int, Scores]] = {}
    for place, one in enumerate(hypotheses):
        cells = scores.get(one.metric, {})
        if shared := _shared(one, cells):
            own, unit = cells[one.cell], reference(one, scores)
            other = cells[one.against] if one.against else {seed: np.zeros(1) for seed in shared}
            tables[str(place)] = {seed: (own[seed] - other[seed]) / unit for seed in shared}
    # Contrasts have no baseline in common: beside one of zeros they are what `differences` takes them for.
    sizes: dict[int, dict[str, dict[int, Scores]]] = {}
    for name, table in tables.items():
        sizes.setdefault(len(next(iter(table.values()))), {})[name] = table
    found: dict[int, Difference] = {}
    for images, some in sizes.items():
        if images == 1:  # a number of a run: beside an equal one it varies by the seed alone
            some = {name: {s: np.repeat(d, 2) for s, d in table.items()} for name, table in some.items()}
        zeros = {seed: np.zeros_like(d) for table in some.values() for seed, d in table.items()}
        for name, known in differences({**some, "": zeros}, "").items():
            found[int(name)] = dataclasses.replace(known, images=images)
    return found


def judge(one: Hypothesis, paper: float | None, found: Difference | None, margin: float) -> Verdict:
    """The verdict on a hypothesis that compares two cells, or a cell with 0.

    It holds if the interval lies on the side that it names; it fails if the interval lies on the other side,
    or within the margin of 0, so that there is no difference that matters. That two are alike holds if the
    interval lies within the margin, and fails if it lies beyond.

    Args:
        one: the hypothesis.
        paper: the paper's difference.
        found: ours.
        margin: differences up to this do not matter, as a share.
    """
    if found is None:
        return Verdict(one, "not made", paper, None, "no runs of its cells")
    if found.interval is None or found.components is None:
        return Verdict(one, "undecided", paper, found, "one seed decides nothing")
    if not (found.mean or any(dataclasses.astuple(found.components))):
        return _without_difference(one, paper, found, margin)
    word, reason = _by_interval(one, found.interval, margin)
    if word == "undecided":
        assert found.detectable is not None
        reason = f"this design sees differences of {100 * found.detectable:.1f} {METRICS[one.metric].unit}"
        low, high = (100 * end for end in found.interval)
        if paper is not None and one.direction != "alike" and (paper < low or paper > high):
            reason += f"; the paper's {paper:+.2f} {METRICS[one.metric].unit} lie outside our interval"
    return Verdict(one, word, paper, found, reason)


def _by_interval(one: Hypothesis, interval: tuple[float, float], margin: float) -> tuple[Word, str]:
    low, high = interval if one.direction != "worse" else (-interval[1], -interval[0])
    size = f"no difference larger than {100 * max(-low, high):.1f} {METRICS[one.metric].unit}"
    within = max(-low, high) <= margin
    if one.direction == "alike":
        if within:
            return "holds", size
        return (
            ("fails", "the difference is one that matters") if max(low, -high) > margin else ("undecided", "")
        )
    if low > 0:
        return "holds", ""
    if high < 0:
        return "fails", "the difference is the other way round"
    return ("fails", size) if within else ("undecided", "")


def _without_difference(one: Hypothesis, paper: float | None, found: Difference, margin: float) -> Verdict:
    """The verdict where both cells did the same on every image, so that nothing varied.

    Up to 3 / n is the upper 95 % end of a share of which n images showed none (the rule of three).
    """
    if found.images == 1:
        return Verdict(one, "undecided", paper, found, "no difference with any seed")
    most = 3 / found.images
    said = f"both did the same on all {found.images} images"
    if not METRICS[one.metric].share:
        return Verdict(one, "undecided", paper, found, said)
    word: Word = "undecided" if most > margin else "holds" if one.direction == "alike" else "fails"
    return Verdict(one, word, paper, found, f"{said}, which leaves {100 * most:.1f} points open")


def beside_diverged(verdict: Verdict, runs: Sequence[Run]) -> Verdict:
    """The verdict where runs of its cells diverged: they count as what they scored, which is no figure.

    Args:
        verdict: as intervals have it.
        runs: of both cells.
    """
    told, lost = [], False
    for cell in (verdict.hypothesis.cell, verdict.hypothesis.against):
        own = [run for run in runs if run.operator == cell]
        if diverged := sum(run.diverged for run in own):
            told.append(f"{diverged} of {len(own)} runs of {cell} diverged")
            lost = lost or diverged == len(own)
    if not told or verdict.word == "not made":
        return verdict
    if lost:
        return dataclasses.replace(verdict, word="undecided", reason="; ".join(told))
    return dataclasses.replace(verdict, reason="; ".join(filter(None, [verdict.reason, *told])))


def judge_convergence(one: Hypothesis, every: Sequence[Run], classes: int) -> Verdict:
    """The verdict on a cell that is said not to converge.

    Args:
        one: the hypothesis.
        every: the runs of all cells: where none of another one converges, it is not for the cell's sake.
        classes: of the data.
    """
    runs = [run for run in every if run.operator == one.cell]
    if not runs:
        return Verdict(one, "not made", None, None, "no runs")
    stuck = sum(not converged(run, classes) for run in runs)
    said = f"{stuck} of {len(runs)} {'run' if len(runs) == 1 else 'runs'} did not converge"
    word: Word = "holds" if stuck == len(runs) else "undecided" if stuck else "fails"
    if word == "holds" and not any(converged(run, classes) for run in every):
        return Verdict(one, "undecided", None, None, f"{said}, and none of another cell did")
    return Verdict(one, word, None, None, said)


def converged(run: Run, classes: int) -> bool:
    """Whether a run's loss came down from that of a guess, and stayed a number."""
    return not run.diverged and run.history[-1].train_loss < _STUCK * math.log(classes)


def figure_text(value: float | str | None, metric: str) -> str:
    """A figure of a paper, as its table has it."""
    if value is None:
        return "–"
    return NOT_CONVERGED if isinstance(value, str) else f"{value:.{METRICS[metric].digits}f}"
