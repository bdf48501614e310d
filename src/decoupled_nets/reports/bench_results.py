"""The schema of ``conv.json``: what one benchmark measured, and its means over the layers of a grid."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .._measure import Ratio
from .results import to_plain

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Measured:
    """What one convolution, or network of it, took relative to another in the same rounds.

    Attributes:
        number: place of the case in the benchmark.
        grid: name of the grid that has the case.
        case: shape, type and so on of what was measured.
        label: the case in words.
        convolution: what was measured, in words.
        operator: its operator; ``"conv"`` is plain.
        path: how it was computed.
        baseline: what the ratios are relative to.
        forward: time of the forward pass; None if it was not measured.
        both: time of forward and backward, for a network of the whole training step.
        kept: memory of input, output and what autograd keeps but weights, relative to the baseline's.
    """

    number: int
    grid: str
    case: dict[str, Any]
    label: str
    convolution: str
    operator: str
    path: str
    baseline: str
    forward: Ratio | None = None
    both: Ratio | None = None
    kept: float | None = None


@dataclass(frozen=True)
class Mean:
    """Geometric means over the layers of a grid, of one convolution's medians, and its worst layer."""

    grid: str
    convolution: str
    baseline: str
    layers: int
    forward: float | None
    both: float | None
    kept: float | None
    worst_forward: Worst | None
    worst_both: Worst | None


@dataclass(frozen=True)
class Worst:
    """The layer with the largest median ratio."""

    label: str
    ratio: float


@dataclass
class BenchResults:
    """Everything a benchmark knows, as it stands in ``conv.json``.

    `config` is the resolved configuration of the command; `environment` has versions, threads, machine and
    torch's settings; `finished` says whether every case was measured.
    """

    config: dict[str, Any]
    environment: dict[str, Any]
    measured: list[Measured] = field(default_factory=list)
    finished: bool = False

    def to_json(self) -> str:
        """Strict JSON text, with the means beside what was measured."""
        raw = {"schema": SCHEMA_VERSION, **to_plain(self), "summary": to_plain(summarise(self.measured))}
        return json.dumps(raw, indent=1, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> BenchResults:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: the text is of another schema version.
        """
        raw = json.loads(text)
        schema = raw.get("schema") if isinstance(raw, dict) else None
        if schema != SCHEMA_VERSION:
            raise ValueError(f"benchmark schema {schema!r} found; needed: {SCHEMA_VERSION}")
        measured = [_measured(one) for one in raw["measured"]]
        return cls(raw["config"], raw["environment"], measured, raw["finished"])


def summarise(measured: Sequence[Measured]) -> list[Mean]:
    """Means of every convolution over the layers of every grid but those of one layer or of growing ones."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for one in measured:
        if not one.case.get("sweep") and "model" not in one.case:
            groups.setdefault((one.grid, one.convolution), []).append(one)
    return [_mean(group) for group in groups.values() if len(group) > 1]


def _mean(group: list[Measured]) -> Mean:
    forward = [(one.label, one.forward.median) for one in group if one.forward]
    both = [(one.label, one.both.median) for one in group if one.both]
    return Mean(
        group[0].grid,
        group[0].convolution,
        group[0].baseline,
        len(group),
        _geometric([ratio for _, ratio in forward]),
        _geometric([ratio for _, ratio in both]),
        _geometric([one.kept for one in group if one.kept is not None]),
        _worst(forward),
        _worst(both),
    )


def _geometric(ratios: list[float]) -> float | None:
    return statistics.geometric_mean(ratios) if ratios else None


def _worst(layers: list[tuple[str, float]]) -> Worst | None:
    return Worst(*max(layers, key=lambda layer: layer[1])) if layers else None


def _measured(raw: dict[str, Any]) -> Measured:
    ratios = {name: Ratio(**raw[name]) if raw[name] else None for name in ("forward", "both")}
    return Measured(**{**raw, **ratios})
