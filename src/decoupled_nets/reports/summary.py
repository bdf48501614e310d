"""From the raw results of a comparison to one row of statements per operator."""

from __future__ import annotations

from dataclasses import dataclass

from .._metric import Metric
from .._statistics import Interval, Spread, spread
from . import format as fmt
from .decision import Difference
from .results import Cost, Results, Run


@dataclass(frozen=True)
class Reach:
    """How soon runs reached the best metric on validation images that the baseline had with the same seed.

    `epochs` and `seconds` (of training) are means over the `reached` of `seeds` runs, None when none did.
    """

    reached: int
    seeds: int
    epochs: float | None
    seconds: float | None


@dataclass(frozen=True)
class Row:
    """Everything a report says of one operator; what was not measured is None or empty.

    `single` is the 95 % interval of the first finished seed's run alone, over the choice of test images.
    `difference` is over the seeds that both the operator and the baseline finished, each with its partner;
    `decided` is the same with what it can bear, and `margin` what a difference that matters exceeds. `kind`
    is what is compared.
    """

    operator: str
    metric: Metric
    seeds: int
    diverged: int
    score: Spread | None
    single: Interval | None
    difference: Spread | None
    decided: Difference | None
    margin: float
    reach: Reach | None
    attacked: dict[str, Spread]
    parameters: int | None
    cost: Cost | None
    verdict: str
    kind: str = "operator"

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
    measured = [row for row in rows if row.score is not None]
    if not measured:
        return "No run has finished yet."
    baseline = rows[0]
    if baseline.score is None:
        return f"The baseline {baseline.operator} has not finished, so there is nothing to compare with yet."
    others = [row for row in measured if row is not baseline]
    if not others:
        return f"{_described(baseline)}. No other {baseline.kind} has finished yet."
    metric = baseline.metric
    best = next(row for row in others if _mean(row) == metric.best(map(_mean, others)))
    most = "highest" if metric.better == "higher" else "lowest"
    rank = "" if len(others) == 1 else f", the {most} of the {len(others)} {baseline.kind}s compared with it"
    start = f"{_described(baseline)}. {_described(best)}{rank}."
    if best.difference is None:
        return f"{start} They have no finished seed in common, so the difference is not known."
    return f"{start} Against {baseline.operator} it is {best.verdict}."


def _described(row: Row) -> str:
    over = f"mean ± standard deviation over {row.seeds} seeds" if row.seeds > 1 else "one seed"
    unit = f" {row.metric.unit}" if row.metric.unit else ""
    return f"{row.label} reached {fmt.spread(row.score, row.metric)}{unit} test {row.metric.title} ({over})"


def _mean(row: Row) -> float:
    assert row.score is not None
    return row.score.mean


def _row(results: Results, operator: str) -> Row:
    runs = results.of(operator)
    partners = {run.seed: run for run in results.of(results.operators[0])}
    pairs = [(run, partners[run.seed]) for run in runs if run.seed in partners]
    single = _single(runs)
    is_baseline = operator == results.operators[0]
    difference = None if is_baseline else _difference(pairs)
    return Row(
        operator=operator,
        metric=results.metric,
        seeds=len(runs),
        diverged=sum(run.diverged for run in runs),
        score=spread([run.test.value for run in runs if run.test.images]),
        single=single,
        difference=difference,
        decided=results.differences.get(operator),
        margin=results.margin,
        reach=_reach(pairs, results.metric),
        attacked=_attacked(runs),
        parameters=runs[0].parameters if runs else None,
        cost=next((cost for cost in results.costs if cost.operator == operator), None),
        verdict="the baseline" if is_baseline else _verdict(results, difference, operator, pairs),
        kind=results.kind,
    )


def _single(runs: list[Run]) -> Interval | None:
    return runs[0].test.interval if runs else None


def _difference(pairs: list[tuple[Run, Run]]) -> Spread | None:
    return spread(
        [
            run.test.value - partner.test.value
            for run, partner in pairs
            if run.test.images and partner.test.images
        ]
    )


def _attacked(runs: list[Run]) -> dict[str, Spread]:
    names = dict.fromkeys(name for run in runs for name in run.attacked)
    spreads = {
        name: spread([r.attacked[name].value for r in runs if name in r.attacked and r.attacked[name].images])
        for name in names
    }
    return {name: value for name, value in spreads.items() if value is not None}


def _reach(pairs: list[tuple[Run, Run]], metric: Metric) -> Reach | None:
    firsts = []
    for run, partner in pairs:
        target = best_of(partner, metric)
        if target is not None:
            firsts.append(first_reaching(run, target, metric))
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


def best_of(run: Run, metric: Metric) -> float | None:
    """The best value on validation images after any epoch; None if there is none."""
    return metric.best(epoch.val for epoch in run.history if epoch.val == epoch.val)


def first_reaching(run: Run, target: float, metric: Metric) -> tuple[float, float] | None:
    """Epoch and training seconds at which `run` was first as good as the target."""
    duration = 0.0
    for epoch in run.history:
        duration += epoch.seconds
        if metric.reaches(epoch.val, target):
            return float(epoch.epoch), duration
    return None


def _verdict(results: Results, difference: Spread | None, operator: str, pairs: list[tuple[Run, Run]]) -> str:
    """Better, worse, alike or undecided, with the numbers that say so."""
    metric = results.metric
    if difference is None:
        return "undecided: no finished seed in common"
    mean = f"{fmt.difference(Spread(difference.mean, None, 1), metric)} {metric.difference_unit}"
    if difference.n == 1:
        return f"undecided: {mean} with one seed, which says nothing of others; {_overlap(*pairs[0])}"
    decided = results.differences.get(operator)
    if decided is None or decided.interval is None:
        return f"undecided: {mean}, and nothing is known of single images"
    ends = fmt.difference_interval(Interval(*decided.interval), metric)
    numbers = f"{mean}, 95 % interval {ends}, of {fmt.plural(decided.seeds, 'paired seed')}"
    verdict = decided.verdict(results.margin)
    if verdict == "alike":
        most = max(map(abs, decided.interval))
        return f"alike, with no difference larger than {fmt.size(most, metric)}: {numbers}"
    if verdict != "undecided":
        return f"{verdict}: {numbers}"
    return f"undecided: {numbers}; {sight(decided, results.margin, metric)}"


def sight(decided: Difference, margin: float, metric: Metric) -> str:
    """Which difference this comparison could have seen, and how many seeds see one that matters."""
    assert decided.detectable is not None
    seen = f"differences from {fmt.size(decided.detectable, metric)} on could have been seen"
    seeds = decided.seeds_for(margin)
    if seeds is None:
        return f"{seen}; no number of seeds sees {fmt.size(margin, metric)} with these test images"
    return f"{seen}, {fmt.size(margin, metric)} with {fmt.plural(seeds, 'seed')}"


def last_epochs(results: Results) -> int:
    """How many epochs are the last quarter of the training, at least one; 0 if there is nothing before it."""
    epochs = max((len(run.history) for run in results.runs), default=0)
    return 0 if epochs < 2 else max(1, epochs // 4)


def changes(results: Results) -> dict[str, float]:
    """What the last quarter of the training changed on validation images: each operator's mean over seeds.

    Runs that diverged, or are of fewer epochs, do not count.
    """
    found: dict[str, float] = {}
    last = last_epochs(results)
    for operator in results.operators:
        gains = []
        for run in results.of(operator):
            values = [epoch.val for epoch in run.history]
            if 0 < last < len(values) and not run.diverged and all(value == value for value in values):
                gains.append(values[-1] - values[-1 - last])
        if gains:
            found[operator] = sum(gains) / len(gains)
    return found


def flattened(results: Results, rows: list[Row]) -> str:
    """Whether training had come to rest, beside the differences found; empty where it cannot be said."""
    found = changes(results)
    known = [abs(row.decided.mean) for row in rows if row.decided is not None]
    baseline = results.operators[0]
    if not known or baseline not in found:
        return ""
    metric = results.metric
    most = max(found, key=lambda operator: abs(found[operator]))
    lead = max((abs(change - found[baseline]) for change in found.values()), default=0.0)
    verb = "rose" if found[most] > 0 else "fell"
    last = last_epochs(results)
    words = (
        f"In the last {'epoch' if last == 1 else f'{last} epochs'} the validation {metric.title} of {most} "
        f"{verb} by {fmt.size(abs(found[most]), metric)}, and the differences changed by up to "
        f"{fmt.size(lead, metric)}"
    )
    largest = max(abs(found[most]), lead)
    if largest <= results.margin:
        return f"{words}: training had flattened."
    if largest <= min(known):
        return f"{words}, less than any difference here."
    return (
        f"{words}, more than {'every' if largest > max(known) else 'some'} difference here: training had not"
        " flattened, and a longer one may turn a lead round."
    )


def adversarial(results: Results) -> str:
    """How training was adversarial, what that cost and what was chosen; empty where it was plain."""
    runs = [run for name in results.operators for run in results.of(name) if run.adversarial]
    if not runs:
        return ""
    first, baseline = runs[0].adversarial, results.operators[0]
    cost = f"{first['forwards']} forward and {first['backwards']} backward passes a step"
    beside = [c.beside_plain for c in results.costs if c.operator == baseline and c.beside_plain is not None]
    if beside:
        cost += f", {fmt.ratio(beside[0], beside[0], beside[0])} the time of a plain step of {baseline}"
    epochs = {
        name: fmt.listed([str(run.adversarial["epoch"]) for run in results.of(name) if run.adversarial])
        for name in dict.fromkeys(run.operator for run in runs)
    }
    words = (
        f"Training was adversarial: {first['how']}, {cost}. Each network is that of the epoch with the best"
        f" accuracy under PGD-10 of {first['images']} validation images"
        f" ({'; '.join(f'{name} {epoch}' for name, epoch in epochs.items())})."
    )
    for run in runs:
        if run.adversarial["overfitted"] is not None:
            words += (
                f" {run.operator} with seed {run.seed} overfitted catastrophically in epoch"
                f" {run.adversarial['overfitted']}, where its training ended."
            )
    return words


def at_the_edge(chosen: dict[str, object], settings: list[dict[str, object]]) -> bool:
    """Whether a chosen number is the smallest or the largest of those tried; nothing lies below 0."""
    for name, value in chosen.items():
        tried = [one[name] for one in settings]
        if isinstance(value, int | float) and not isinstance(value, bool) and len(set(tried)) > 1:
            numbers = [v for v in tried if isinstance(v, int | float)]
            if value == max(numbers) or (value == min(numbers) and value > 0):
                return True
    return False


def tuned(results: Results) -> str:
    """What tuning chose, in a sentence; empty without tuning."""
    if results.tuning is None or not results.tuning.chosen:
        return ""
    parts = []
    for operator, setting in results.tuning.chosen.items():
        edge = ", at the edge of what was tried" if at_the_edge(setting, results.tuning.settings) else ""
        parts.append(f"{operator} {fmt.setting(setting) or 'as it was, as every setting diverged'}{edge}")
    return f"Chosen on validation images: {'; '.join(parts)}. The page has all of them untuned, too."


def _overlap(run: Run, partner: Run) -> str:
    one, other = run.test.interval, partner.test.interval
    if one is None or other is None:
        return "no test images"
    if one.overlaps(other):
        return "the 95 % intervals of the two runs overlap"
    return "the 95 % intervals of the two runs do not overlap, but another seed may differ"
