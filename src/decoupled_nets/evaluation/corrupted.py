"""What networks made of corrupted images, and what follows from it."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .._environment import environment
from .._statistics import wilson
from ..reports.decision import differences
from ..robustness.corruptions import GROUPS, Known
from .corrupt_config import CorruptConfig

CLEAN = ("none", 0)
RESAMPLES = 1000
Cell = tuple[str, int]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    An accuracy's covers another choice of images and, of three seeds or more, other seeds; a ratio's images
    alone.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gap:
    """The accuracy of networks less the baseline's, on the same images.

    `over` is what its 95 % interval covers another draw of: "images", or "seeds and images".
    """

    value: float
    low: float
    high: float
    over: str


@dataclass
class Summary:
    """What is said of networks that differ in their seed alone.

    Attributes:
        group: Their name.
        seeds: How many there are.
        clean: Accuracy without corruption.
        corrupted: Mean accuracy over corruptions and severities.
        kinds: The same of the corruptions of a kind.
        by: The same of each corruption.
        gap: Of `corrupted`; None for the baseline.
        gaps: Of each corruption.
        relative: Mean over corruptions of the error over the baseline's.
        relatives: The error over the baseline's, summed over severities, of each corruption.
        rise: Mean over corruptions of how much the error rises over how much the baseline's does; None where
            other images might let the baseline's not rise at all.
    """

    group: str
    seeds: int
    clean: Estimate
    corrupted: Estimate
    kinds: dict[str, Estimate]
    by: dict[str, Estimate]
    gap: Gap | None
    gaps: dict[str, Gap]
    relative: Estimate | None
    relatives: dict[str, Estimate | None]
    rise: Estimate | None


@dataclass
class Corrupted:
    """Networks on corrupted images.

    Attributes:
        config: What was asked.
        places: Of the networks.
        published: Folder of the published images; None: they were corrupted here.
        constants: Whose constants they were corrupted with; empty with published images.
        networks: What is known of each, in plain values: label, group, seed, ....
        kinds: The corruptions.
        severities: The severities.
        labels: (n,), of the images.
        predicted: For each network's label and each corruption with its severity (n,); `CLEAN` is the image
            as it is.
        clean_labels: (n,), of the images as they are: other images, where published ones are not in their
            order.
        data: Of the images, in plain values.
        notes: What has to be said.
    """

    config: CorruptConfig
    places: list[str]
    published: str | None
    constants: str
    networks: list[dict[str, Any]]
    kinds: list[Known]
    severities: list[int]
    labels: NDArray[np.int64]
    predicted: dict[str, dict[Cell, NDArray[np.int64]]]
    clean_labels: NDArray[np.int64]
    data: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def images(self) -> int:
        """How many images."""
        return len(self.labels)

    @cached_property
    def cells(self) -> list[Cell]:
        """The image as it is, then each corruption at each severity."""
        return [CLEAN, *((one.name, severity) for one in self.kinds for severity in self.severities)]

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Labels of networks that differ in their seed alone, by what they have in common."""
        found: dict[str, list[str]] = {}
        for network in self.networks:
            found.setdefault(network["group"], []).append(network["label"])
        return found

    @property
    def counted(self) -> list[str]:
        """The corruptions that means go over: not those held back, unless there are no others."""
        usual = [one.name for one in self.kinds if not one.held_back]
        return usual or [one.name for one in self.kinds]

    def right(self, label: str) -> Floats:
        """(n, cells): 1 where the network was right."""
        own = self.predicted[label]
        columns = [own[c] == (self.clean_labels if c == CLEAN else self.labels) for c in self.cells]
        return np.stack(columns, 1).astype(np.float64)

    @cached_property
    def summaries(self) -> list[Summary]:
        """One a group; the first is the baseline."""
        return summarise(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: every count with its interval, and what follows from them."""
        counts = []
        for network in self.networks:
            correct = self.right(network["label"]).sum(0)
            for (name, severity), number in zip(self.cells, correct, strict=True):
                ends = wilson(int(number), self.images)
                counts.append({
                    "network": network["label"], "corruption": name, "severity": severity, "correct":
                    int(number), "images": self.images, "low": ends and ends.low, "high": ends and ends.high,
                })  # fmt: skip
        return {
            "schema": 1,
            "command": self.config.command(self.places, self.published),
            "config": self.config.flat(),
            "constants": self.constants or f"published: {self.published}",
            "data": self.data,
            "environment": environment(),
            "baseline": next(iter(self.groups)),
            "networks": self.networks,
            "counts": counts,
            "summary": [asdict(one) for one in self.summaries],
            "notes": self.notes,
        }

    def parquet(self) -> bytes:
        """A row for each network, corruption, severity and image."""
        parts: dict[str, list[Any]] = {n: [] for n in ("network", "corruption", "severity", "image", "label",
                                                       "predicted")}  # fmt: skip
        for label, own in self.predicted.items():
            for name, severity in self.cells:
                labels = self.clean_labels if severity == 0 else self.labels
                columns = (np.arange(self.images), labels, own[name, severity])
                for key, value in (("network", label), ("corruption", name)):
                    places = pa.array(np.zeros(self.images, np.int32))
                    parts[key].append(pa.DictionaryArray.from_arrays(places, pa.array([value])))
                parts["severity"].append(pa.array(np.full(self.images, severity, np.int8)))
                for key, column in zip(("image", "label", "predicted"), columns, strict=True):
                    parts[key].append(pa.array(column.astype(np.int32)))
        file = io.BytesIO()
        pq.write_table(
            pa.table({n: pa.chunked_array(p) for n, p in parts.items()}).unify_dictionaries(), file
        )
        return file.getvalue()


def summarise(found: Corrupted) -> list[Summary]:
    """What follows for every group, against the first."""
    right = {group: [found.right(label) for label in labels] for group, labels in found.groups.items()}
    means = {group: np.mean(tables, 0) for group, tables in right.items()}
    rng = np.random.default_rng(0)
    weights = rng.multinomial(found.images, np.full(found.images, 1 / found.images), RESAMPLES) / found.images
    # The first row is what was measured, the others what other images might have given.
    drawn = {g: np.concatenate([m.mean(0, keepdims=True), weights @ m]) for g, m in means.items()}
    baseline = next(iter(drawn))
    return [_summary(found, group, drawn[group], drawn[baseline], right) for group in drawn]


def _summary(
    found: Corrupted, group: str, own: Floats, base: Floats, right: dict[str, list[Floats]]
) -> Summary:
    columns = {one.name: _columns(found, [one.name]) for one in found.kinds}
    kinds = {
        kind: _columns(found, members)
        for kind in GROUPS
        if (members := [k.name for k in found.kinds if k.group == kind and k.name in found.counted])
    }
    counted = _columns(found, found.counted)
    first = group == next(iter(right))

    def accuracy(some: list[int]) -> Estimate:
        return _accuracy(right[group], own, some)

    ratios = {name: _ratio(own, base, columns[name]) for name in columns}
    rises = [_ratio(own, base, columns[name], from_clean=True) for name in found.counted]
    gap, gaps = None, {}
    if not first:
        gap = _gap(found, group, right, own, base, counted)
        gaps = {name: _gap(found, group, right, own, base, some) for name, some in columns.items()}
    return Summary(
        group, len(found.groups[group]), accuracy([0]), accuracy(counted),
        {kind: accuracy(some) for kind, some in kinds.items()},
        {name: accuracy(some) for name, some in columns.items()}, gap, gaps,
        _mean_estimate([ratios[name] for name in found.counted]),
        {name: None if r is None else _estimate(r) for name, r in ratios.items()}, _mean_estimate(rises),
    )  # fmt: skip


def _columns(found: Corrupted, names: list[str]) -> list[int]:
    return [place for place, (name, _) in enumerate(found.cells) if name in names]


def _estimate(drawn: Floats) -> Estimate:
    """What was measured, with the middle 95 % of what other images might have given."""
    low, high = np.quantile(drawn[1:], [0.025, 0.975])
    return Estimate(float(drawn[0]), float(low), float(high))


def _mean_estimate(several: list[Floats | None]) -> Estimate | None:
    known = [one for one in several if one is not None]
    return _estimate(np.mean(known, 0)) if len(known) == len(several) else None


def _ratio(own: Floats, base: Floats, columns: list[int], *, from_clean: bool = False) -> Floats | None:
    """Errors over the baseline's, summed over severities; None where other images might give it none."""
    one, other = ((1 - table[:, columns]).sum(1) for table in (own, base))
    if from_clean:
        one, other = (e - len(columns) * (1 - t[:, 0]) for e, t in ((one, own), (other, base)))
    return one / other if bool((other > 0).all()) else None


def over_seeds(tables: list[Floats], some: list[int]) -> Estimate | None:
    """Mean accuracy with an interval that covers other seeds, too; None of two, which say next to nothing.

    Args:
        tables: of each seed, whether it was right, by image and cell.
        some: places of the cells that are meant.
    """
    if len(tables) < 3:
        return None
    scores = {place: table[:, some].mean(1) for place, table in enumerate(tables)}
    nothing = {place: np.zeros_like(score) for place, score in scores.items()}
    decided = differences({"own": scores, "nothing": nothing}, "nothing")["own"]
    assert decided.interval is not None
    low, high = decided.interval
    return Estimate(decided.mean, max(low, 0.0), min(high, 1.0))


def _accuracy(tables: list[Floats], own: Floats, some: list[int]) -> Estimate:
    return over_seeds(tables, some) or _estimate(own[:, some].mean(1))


def _gap(
    found: Corrupted, group: str, right: dict[str, list[Floats]], own: Floats, base: Floats, some: list[int]
) -> Gap:
    baseline = next(iter(right))
    scores = {
        name: {
            seed: table[:, some].mean(1) for seed, table in zip(_seeds(found, name), right[name], strict=True)
        }
        for name in (baseline, group)
    }
    decided = differences(scores, baseline).get(group)
    if decided is not None and decided.interval is not None:
        return Gap(decided.mean, *decided.interval, "seeds and images")
    alone = _estimate((own - base)[:, some].mean(1))
    return Gap(alone.value, alone.low, alone.high, "images")


def _seeds(found: Corrupted, group: str) -> list[int]:
    """Seeds of the networks of a group; their places where they are not known."""
    own = [network["seed"] for network in found.networks if network["group"] == group]
    return [place if seed is None else seed for place, seed in enumerate(own)]
