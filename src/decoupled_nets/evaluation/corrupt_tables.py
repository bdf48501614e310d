"""Accuracy on corrupted images as tables and in words: every number with its images and its interval."""

from __future__ import annotations

from .._metric import Metric
from .._statistics import Interval, spread
from ..reports import format as fmt
from ..reports.tables import Table
from .corrupted import Corrupted, Estimate, Gap, Summary

ACCURACY = Metric("accuracy", "accuracy")


def tables(found: Corrupted, *, intervals: bool = True) -> list[Table]:
    """All of them; those that have nothing to say are left out.

    Args:
        found: what networks made of the images.
        intervals: whether every cell of the long tables has its interval, which takes a wide page; otherwise
            their captions say how far intervals reach.
    """
    made = [accuracies(found), by_kind(found), compared(found), relations(found)]
    made += [by_corruption(found, intervals=intervals), relatives(found, intervals=intervals)]
    return [table for table in made if table.rows]


def accuracies(found: Corrupted) -> Table:
    """A row a group: without corruption and over all corruptions."""
    header = ["Network", "Seeds", "No corruption, %", "95 % interval", "Corrupted, %", "95 % interval"]
    rows = [
        [
            one.group, str(one.seeds), seeds_of(found, one, clean=True), _ends(one.clean),
            seeds_of(found, one), _ends(one.corrupted),
        ]
        for one in found.summaries
    ]  # fmt: skip
    return Table(f"Accuracy: {scope(found)}; {_cover(found)}", header, rows)


def by_kind(found: Corrupted) -> Table:
    """A row a group, a column a kind of corruptions."""
    kinds = list(found.summaries[0].kinds)
    rows = [[one.group, *(share(one.kinds[kind]) for kind in kinds)] for one in found.summaries]
    widest = max((_half(e) for one in found.summaries for e in one.kinds.values()), default=0.0)
    caption = f"Accuracy by kind: 95 % intervals reach {100 * widest:.1f} points at most"
    return Table(
        caption, ["Network", *(f"{kind.capitalize()}, %" for kind in kinds)], rows if len(kinds) > 1 else []
    )


def _cover(found: Corrupted) -> str:
    most = max(one.seeds for one in found.summaries)
    seeds = (
        "" if most == 1 else ", not other seeds" if most == 2 else " and, of three seeds or more, other seeds"
    )
    return f"intervals cover other images{seeds}"


def scope(found: Corrupted) -> str:
    """What means go over."""
    kinds = fmt.plural(len(found.counted), "corruption")
    levels = ", ".join(map(str, found.severities))
    word = "severities" if len(found.severities) > 1 else "severity"
    return f"{kinds} at {word} {levels}, {fmt.count(found.images)} images each"


def seeds_of(found: Corrupted, one: Summary, *, clean: bool = False) -> str:
    """Mean and, with several seeds, their standard deviation."""
    places = [
        place
        for place, (name, _) in enumerate(found.cells)
        if (name == "none" if clean else name in found.counted)
    ]
    values = [float(found.right(label)[:, places].mean()) for label in found.groups[one.group]]
    return fmt.spread(spread(values), ACCURACY)


def compared(found: Corrupted) -> Table:
    """Every group's accuracy against the first's."""
    baseline = found.summaries[0].group
    header = ["Network", f"Against {baseline}, points", "95 % interval", "Covers other"]
    rows = [
        [one.group, points(one.gap), gap_ends(one.gap), one.gap.over]
        for one in found.summaries
        if one.gap is not None
    ]
    return Table(f"On corrupted images against {baseline}, on the same images", header, rows)


def relations(found: Corrupted) -> Table:
    """Every group's errors in relation to the first's."""
    baseline = found.summaries[0].group
    header = ["Network", "Error, %", "95 % interval", "Its rise, %", "95 % interval"]
    rest = found.summaries[1:]
    rows = [[one.group, *_relative_cells(one.relative), *_relative_cells(one.rise)] for one in rest]
    missing = any(one.rise is None for one in rest)
    why = f" (–: not sure that {baseline}'s error rises under every corruption)" if missing else ""
    caption = f"Relative to {baseline}, mean over corruptions; intervals cover other images{why}"
    return Table(caption, header, rows)


def by_corruption(found: Corrupted, *, intervals: bool = True) -> Table:
    """A row a corruption, a column a group: the mean over severities."""
    rows = [
        [
            one.title + (" (held back)" if one.held_back else ""),
            *(
                f"{share(s.by[one.name])} ({_ends(s.by[one.name])})" if intervals else share(s.by[one.name])
                for s in found.summaries
            ),
        ]
        for one in found.kinds
    ]
    widest = max(_half(s.by[one.name]) for s in found.summaries for one in found.kinds)
    said = (
        "95 % intervals in brackets"
        if intervals
        else f"95 % intervals reach {100 * widest:.1f} points at most"
    )
    caption = f"Accuracy by corruption, %: mean over severities, {fmt.count(found.images)} images; {said}"
    return Table(caption, ["Corruption", *(s.group for s in found.summaries)], rows)


def relatives(found: Corrupted, *, intervals: bool = True) -> Table:
    """A row a corruption: errors over the baseline's."""
    rest = found.summaries[1:]
    rows = []
    for one in found.kinds:
        cells = []
        for summary in rest:
            value, ends = _relative_cells(summary.relatives[one.name])
            cells.append(f"{value} ({ends})" if intervals and value != fmt.MISSING else value)
        rows.append([one.title, *cells])
    baseline = found.summaries[0].group
    widest = max((_half(e) for s in rest for e in s.relatives.values() if e is not None), default=0.0)
    said = "95 % intervals in brackets" if intervals else f"95 % intervals reach {100 * widest:.0f} at most"
    caption = f"Error by corruption, % of that of {baseline}; {said}"
    return Table(caption, ["Corruption", *(s.group for s in rest)], rows if rest else [])


def lead(found: Corrupted) -> str:
    """The result in a few sentences."""
    parts = [
        f"{one.group} is right on {share(one.corrupted)} % ({_ends(one.corrupted)}) of corrupted images and"
        f" on {share(one.clean)} % of clean ones"
        for one in found.summaries
    ]
    which = f"constants of {_WHOSE[found.constants]}" if found.constants else "published images"
    return f"{'; '.join(parts)} (means over {scope(found)}; {which})."


_WHOSE = {"cifar": "CIFAR-10-C", "imagenet": "ImageNet-C"}


def share(one: Estimate) -> str:
    """As per cent."""
    return fmt.value(one.value, ACCURACY)


def points(gap: Gap | None) -> str:
    """With a sign, in percentage points."""
    return fmt.MISSING if gap is None else f"{100 * gap.value:+.1f}".replace("-", "−")


def gap_ends(gap: Gap | None) -> str:
    """Its interval."""
    return fmt.MISSING if gap is None else fmt.difference_interval(Interval(gap.low, gap.high), ACCURACY)


def _ends(one: Estimate) -> str:
    return fmt.interval(Interval(one.low, one.high), ACCURACY)


def _half(one: Estimate) -> float:
    return max(one.high - one.value, one.value - one.low)


def _relative_cells(one: Estimate | None) -> tuple[str, str]:
    if one is None:
        return fmt.MISSING, fmt.MISSING
    value, low, high = (f"{100 * number:.0f}".replace("-", "−") for number in (one.value, one.low, one.high))
    return value, f"{low} to {high}" if one.low < 0 else f"{low}–{high}"
