"""What attacks left, as tables and in words: never without suite, radius, number of images and interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._metric import Metric
from .._statistics import Interval, Paired, Spread, paired, spread, wilson
from ..reports import format as fmt
from ..reports.decision import Difference, differences
from ..reports.tables import Table
from ..robustness import Threat
from .attacks import Attacks
from .record import Record

ACCURACY = Metric("accuracy", "accuracy")
#: Differences up to this do not matter.
MARGIN = 0.005


def tables(found: Attacks) -> list[Table]:
    """Those of the page; what has nothing to say is left out."""
    made = [accuracies(found), decided(found), among_both(found), transfers(found), trainings(found)]
    return [table for table in made if table.rows]


def short_tables(found: Attacks) -> list[Table]:
    """For a terminal of 80 columns: what stands, and what it says of the networks."""
    return [table for table in (_standing(found), _verdicts(found)) if table.rows]


def _standing(found: Attacks) -> Table:
    whole = accuracies(found)
    first = found.records[0].summary
    named = [f"{first['suite']}, %", "95 % interval", "Median change", "Signs of failure"]
    places = [0, 1, *(whole.header.index(name) for name in named if name in whole.header)]
    return Table(
        whole.caption, [whole.header[i] for i in places], [[row[i] for i in places] for row in whole.rows]
    )


def _verdicts(found: Attacks) -> Table:
    whole = decided(found)
    rows = [[row[0], row[1], row[3], *row[4:7]] for row in whole.rows]
    return Table(
        whole.caption, ["Network", "Seeds", "Stand, %", "Difference", "95 % interval", "Verdict"], rows
    )


def accuracies(found: Attacks) -> Table:
    """A row a network: what is right without an attack and under each."""
    first = found.records[0].summary
    every = [a for a in first["attacks"] if a["every"]]
    swept = "nearest" in found.records[0].rows
    header = ["Network", "No attack, %", *(f"{a['title']}, %" for a in every)]
    header += [f"{first['suite']}, %", "95 % interval", "Median change", "Signs of failure"]
    rows = []
    for record in found.records:
        own, n = record.summary, record.summary["images"]
        each = {a["name"]: a["seen"] - a["broken"] for a in own["attacks"]}
        interval = fmt.interval(Interval(*own["interval"]), ACCURACY)
        rows.append(
            [
                record.label, _share(own["clean"], n), *(f"≤ {_share(each[a['name']], n)}" for a in every),
                f"≤ {_share(own['robust'], n)}", interval, median_change(record) if swept else fmt.MISSING,
                fmt.listed([c["name"] for c in own["checks"] if c["flag"]]) or "none",
            ]
        )  # fmt: skip
    threat = Threat.parse(first["threat"])
    if not swept:
        header.pop(-2)
        rows = [[*row[:-2], row[-1]] for row in rows]
    return Table(f"Accuracy under attack, {threat}, {first['images']} images (upper bounds)", header, rows)


def median_change(record: Record) -> str:
    """The median of the smallest changes of the images that are right without an attack."""
    nearest = np.array(record.rows["nearest"])[np.array(record.rows["clean"], dtype=bool)]
    if not len(nearest) or not np.isfinite(middle := float(np.quantile(nearest, 0.5, method="higher"))):
        return fmt.MISSING
    return (
        f"{255 * middle:.2f}/255"
        if Threat.parse(record.summary["threat"]).norm == "linf"
        else f"{middle:.3f}"
    )


def compared(found: Attacks) -> dict[str, Difference]:
    """Groups of networks against the first, under attack: another draw of seeds and images is covered."""
    baseline = next(iter(found.groups))
    scores = {
        name: {place: np.array(r.rows["robust"], dtype=float) for place, r in _by_seed(records)}
        for name, records in found.groups.items()
    }
    return differences(scores, baseline) if len(scores) > 1 else {}


def _by_seed(records: Sequence[Record]) -> list[tuple[int, Record]]:
    return [(place if r.summary["seed_of_network"] is None else r.summary["seed_of_network"], r)
            for place, r in enumerate(records)]  # fmt: skip


def decided(found: Attacks) -> Table:
    """Groups of seeds against the first."""
    baseline, known = next(iter(found.groups)), compared(found)
    suite = found.config.suite
    header = [
        "Network",
        "Seeds",
        "No attack, %",
        f"{suite}, %",
        f"Against {baseline}, points",
        "95 % interval",
    ]
    header += ["Verdict", "Could have seen"]
    rows = []
    for name, records in found.groups.items():
        shares = {
            key: spread([r.summary[key] / r.summary["images"] for r in records])
            for key in ("clean", "robust")
        }
        own = known.get(name)
        cells = [fmt.MISSING] * 4
        if own is not None and own.interval is not None and not own.reach:
            cells = [
                _points(own.mean),
                fmt.MISSING,
                "no image differs",
                fmt.MISSING,
            ]  # of others nothing is known
        elif own is not None and own.interval is not None:
            cells = [
                _points(own.mean), fmt.difference_interval(Interval(*own.interval), ACCURACY),
                own.verdict(MARGIN), f"{100 * (own.detectable or 0):.1f}",
            ]  # fmt: skip
        elif name != baseline:  # no two seeds in common: of these very networks
            alone = paired(*_robust(found.groups[baseline][0], records[0]))
            interval = fmt.difference_interval(Interval(alone.low, alone.high), ACCURACY)
            cells = [_points(alone.mean), interval, "one seed", fmt.MISSING]
        rows.append([name, str(len(records)), *(f"{'≤ ' * (k == 'robust')}{fmt.spread(s, ACCURACY)}"
                                                for k, s in shares.items()), *cells])  # fmt: skip
    return Table("Against the first, on the same images", header, rows if len(found.groups) > 1 else [])


def _points(difference: float) -> str:
    return fmt.difference(Spread(difference, None, 1), ACCURACY)


def _robust(first: Record, second: Record) -> tuple[list[bool], list[bool]]:
    return first.rows["robust"], second.rows["robust"]


def both_right(first: Record, second: Record) -> Paired | None:
    """Under attack, among the images that both classify correctly as they are."""
    both = [a and b for a, b in zip(first.rows["clean"], second.rows["clean"], strict=True)]
    pairs = [(a, b) for a, b, is_so in zip(*_robust(first, second), both, strict=True) if is_so]
    return paired([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None


def among_both(found: Attacks) -> Table:
    """Each network against the first of its seed: equal accuracy without an attack is no excuse here."""
    baseline = next(iter(found.groups))
    first = dict(_by_seed(found.groups[baseline]))
    header = [
        "Network",
        "Both right",
        f"{baseline} stands, %",
        "Stands, %",
        "Difference",
        "95 % interval",
        "p",
    ]
    rows = []
    for name, records in found.groups.items():
        for seed, record in _by_seed(records):
            if name == baseline or seed not in first:
                continue
            other = both_right(first[seed], record)
            if other is None:
                continue
            both = [a and b for a, b in zip(first[seed].rows["clean"], record.rows["clean"], strict=True)]
            shares = [
                100 * sum(r and b for r, b in zip(one.rows["robust"], both, strict=True)) / other.n
                for one in (first[seed], record)
            ]
            interval = fmt.difference_interval(Interval(other.low, other.high), ACCURACY)
            rows.append([record.label, str(other.n), *(f"≤ {s:.1f}" for s in shares),
                         _points(other.mean), interval, f"{other.p:.2g}"])  # fmt: skip
    return Table("Among images that both classify (exact test of McNemar)", header, rows)


def transfers(found: Attacks) -> Table:
    """The matrix: sources in columns."""
    moved = found.transfer
    if moved is None:
        return Table("Transfer", [], [])
    sources = list(moved.left)
    rows = [
        [target, _share(moved.clean[target], moved.images),
         *(_share(moved.left[source][target], moved.images) + (" *" if moved.own(source, target) else "")
           for source in sources)]
        for target in moved.names
    ]  # fmt: skip
    caption = "Right under images made on another network, % (* its own: white box)"
    return Table(caption, ["Attacked", "No attack", *(f"made on {source}" for source in sources)], rows)


def trainings(found: Attacks) -> Table:
    """How far training had gone."""
    header = ["Network", "BatchNorm", "ReLU", "Training accuracy, %", "Flattened", "Training"]
    rows = []
    for record in found.records:
        own = record.summary["training"]
        fitted, words = own.get("train_accuracy"), own["words"].rpartition(":")[0] or own["words"]
        rows.append([
            record.label, *(_yes(record.summary[key]) for key in ("batch_norm", "relu")),
            fmt.MISSING if fitted is None else f"{100 * fitted:.1f}", _yes(own["flattened"]), words,
        ])  # fmt: skip
    return Table("Training", header, rows)


def _yes(value: Any) -> str:
    return fmt.MISSING if value is None else "yes" if value else "no"


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f}"


def lead(found: Attacks) -> str:
    """The result in a few sentences."""
    first = found.records[0].summary
    threat = Threat.parse(first["threat"])
    parts = []
    for name, records in found.groups.items():
        robust = spread([r.summary["robust"] / r.summary["images"] for r in records])
        if len(records) == 1:
            ends = wilson(records[0].summary["robust"], records[0].summary["images"])
            parts.append(f"{name} at most {fmt.spread(robust, ACCURACY)} % ({fmt.interval(ends, ACCURACY)})")
        else:
            parts.append(f"{name} at most {fmt.spread(robust, ACCURACY)} % ({len(records)} seeds)")
    return f"Under {first['suite']} ({threat}, {first['images']} images) there stand of {fmt.listed(parts)}."


def warnings(found: Attacks) -> list[str]:
    """What keeps the numbers from being a claim."""
    said = []
    suite = found.config.suite
    if suite not in ("standard", "deep"):
        said.append(f"The suite {suite} is no evidence of robustness: stronger attacks may leave far less.")
    flagged = {r.label: [c["name"] for c in r.summary["checks"] if c["flag"]] for r in found.records}
    standing = {r.label for r in found.records if r.summary["robust"]}
    for name, flags in flagged.items():
        if flags and name in standing:  # where nothing stands the attacks did not fail
            said.append(
                f"{name}: the attacks show signs of failing ({', '.join(flags)}); its number may be far too"
                " high."
            )
    young = [r.label for r in found.records if r.summary["training"]["flattened"] is False]
    if young:
        said.append(
            f"The training of {fmt.listed(young[:6]) + (' and others' if len(young) > 6 else '')} had not"
            " flattened: robustness changes until the end of training, and orders turn round."
        )
    baseline = found.records[0]
    missing = [
        name
        for name, key in (("BatchNorm", "batch_norm"), ("ReLU", "relu"))
        if baseline.summary[key] is False
    ]
    if missing:
        said.append(
            f"{baseline.label}, what the others are compared with, is without"
            f" {fmt.listed(missing)}:"
            " such a network may be unusually fragile, and everything looks robust beside it; give one with"
            " both, too."
        )
    return [*said, *(f"{note}." for note in found.notes)]
