"""From the raw results of a comparison to one row of statements per operator."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import format as fmt
from .results import Cost, Results, Run
from .statistics import Interval, Spread, spread, wilson


@dataclass(frozen=True)
class Reach:
    """How soon runs reached the best validation accuracy that the baseline had with the same seed.

    `epochs` and `seconds` (of training) are means over the `reached` of `seeds` runs, None when none did.
    """

    reached: int
    seeds: int
    epochs: float | None
    seconds: float | None


@dataclass(frozen=True)
class Row:
    """Everything a report says of one operator; what was not measured is None or empty.

    Accuracies are fractions. `single` is Wilson's 95 % interval of the first finished seed's run alone.
    `difference` is over the seeds that both the operator and the baseline finished, each with its partner.
    """

    operator: str
    seeds: int
    diverged: int
    accuracy: Spread | None
    single: Interval | None
    difference: Spread | None
    reach: Reach | None
    attacked: dict[str, Spread]
    parameters: int | None
    cost: Cost | None
    verdict: str

    @property
    def label(self) -> str:
        """The operator's name, with how many of its runs diverged if any did."""
        if not self.diverged:
            return self.operator
        share = "" if self.diverged == self.seeds else f" {self.diverged} of {self.seeds}"
        return f"{self.operator} (diverged{share})"


def summarise(results: Results) -> list[Row]:
    """One row per operator, in the order of the results; the first operator is the baseline."""
    return [_row(results, operator) for operator in results.operators]


def attack_names(rows: list[Row]) -> list[str]:
    """Every attack some operator was measured under, in the order met."""
    return list(dict.fromkeys(name for row in rows for name in row.attacked))


def lead(rows: list[Row]) -> str:
    """The measured result in a few sentences that claim no more than was measured."""
    measured = [row for row in rows if row.accuracy is not None]
    if not measured:
        return "No run has finished yet."
    baseline = rows[0]
    if baseline.accuracy is None:
        return f"The baseline {baseline.operator} has not finished, so there is nothing to compare with yet."
    others = [row for row in measured if row is not baseline]
    if not others:
        return f"{_described(baseline)}. No other operator has finished yet."
    best = max(others, key=_mean_accuracy)
    rank = "" if len(others) == 1 else f", the highest of the {len(others)} operators compared with it"
    start = f"{_described(baseline)}. {_described(best)}{rank}."
    if best.difference is None:
        return f"{start} They have no finished seed in common, so the difference is not known."
    return f"{start} The difference is {best.verdict}."


def _described(row: Row) -> str:
    over = f"mean ± standard deviation over {row.seeds} seeds" if row.seeds > 1 else "one seed"
    return f"{row.label} reached {fmt.percent_spread(row.accuracy)} % test accuracy ({over})"


def _mean_accuracy(row: Row) -> float:
    return row.accuracy.mean if row.accuracy is not None else -math.inf


def _row(results: Results, operator: str) -> Row:
    runs = results.of(operator)
    partners = {run.seed: run for run in results.of(results.operators[0])}
    pairs = [(run, partners[run.seed]) for run in runs if run.seed in partners]
    single = _single(runs)
    is_baseline = operator == results.operators[0]
    difference = None if is_baseline else _difference(pairs)
    return Row(
        operator=operator,
        seeds=len(runs),
        diverged=sum(run.diverged for run in runs),
        accuracy=spread([run.test.accuracy for run in runs if run.test.total]),
        single=single,
        difference=difference,
        reach=_reach(pairs),
        attacked=_attacked(runs),
        parameters=runs[0].parameters if runs else None,
        cost=next((cost for cost in results.costs if cost.operator == operator), None),
        verdict="the baseline" if is_baseline else _verdict(difference, pairs),
    )


def _single(runs: list[Run]) -> Interval | None:
    return wilson(runs[0].test.correct, runs[0].test.total) if runs else None


def _difference(pairs: list[tuple[Run, Run]]) -> Spread | None:
    return spread(
        [
            run.test.accuracy - partner.test.accuracy
            for run, partner in pairs
            if run.test.total and partner.test.total
        ]
    )


def _attacked(runs: list[Run]) -> dict[str, Spread]:
    names = dict.fromkeys(name for run in runs for name in run.attacked)
    spreads = {
        name: spread(
            [r.attacked[name].accuracy for r in runs if name in r.attacked and r.attacked[name].total]
        )
        for name in names
    }
    return {name: value for name, value in spreads.items() if value is not None}


def _reach(pairs: list[tuple[Run, Run]]) -> Reach | None:
    firsts = []
    for run, partner in pairs:
        target = max((e.val.accuracy for e in partner.history if e.val.total), default=None)
        if target is not None:
            firsts.append(_first_reaching(run, target))
    if not firsts:
        return None
    reached = [first for first in firsts if first is not None]
    epochs = spread([epoch for epoch, _ in reached])
    seconds = spread([duration for _, duration in reached])
    return Reach(
        len(reached),
        len(firsts),
        None if epochs is None else epochs.mean,
        None if seconds is None else seconds.mean,
    )


def _first_reaching(run: Run, target: float) -> tuple[float, float] | None:
    """Epoch and training seconds at which `run` first had the target accuracy."""
    duration = 0.0
    for epoch in run.history:
        duration += epoch.seconds
        if epoch.val.accuracy >= target:
            return float(epoch.epoch), duration
    return None


def _verdict(difference: Spread | None, pairs: list[tuple[Run, Run]]) -> str:
    if difference is None:
        return "no finished seed in common"
    if difference.n == 1:
        return f"{fmt.points(difference)} points with one seed; {_overlap(*pairs[0])}"
    text = f"{fmt.points(difference)} (standard error) points over {difference.n} paired seeds"
    interval = difference.interval
    if interval is None:
        return f"{text}; too few to tell it from chance"
    verb = "excludes" if interval.low > 0 or interval.high < 0 else "includes"
    return f"{text}; the 95 % interval, {fmt.points_interval(interval)}, {verb} 0"


def _overlap(run: Run, partner: Run) -> str:
    one, other = (
        wilson(run.test.correct, run.test.total),
        wilson(partner.test.correct, partner.test.total),
    )
    if one is None or other is None:
        return "no test images"
    if one.overlaps(other):
        return "the 95 % intervals of the two runs overlap"
    return "the 95 % intervals of the two runs do not overlap, but another seed may differ"
