"""The section on how networks started: what weights were loaded, what was converted, what calibration did."""

from __future__ import annotations

from typing import Any

from .. import format as fmt
from .. import markup
from ..tables import Table
from . import Content, section

_MOST = 6
_NOTE = (
    "Of the first seed. Labels kept: the share of training images that a network gives the label of the "
    "plain one it was converted from, before anything is trained, without and with calibration."
)


@section("Start", 15)
def start(content: Content) -> list[str]:
    """A table of operators, and what of the weights fitted."""
    started = {
        row.operator: runs[0].start for row in content.rows if (runs := content.results.of(row.operator))
    }
    if not any(one.get("weights") or one.get("converted") is not None for one in started.values()):
        return []
    header = ["Operator", "Start", "Converted layers", "Left plain", "Labels kept: converted", "calibrated"]
    rows = [[operator, *_cells(one)] for operator, one in started.items()]
    notes = [(operator, note) for operator, one in started.items() for note in one.get("notes", [])]
    first = next(iter(started.values()))
    return [
        markup.table(Table("How the networks started", header, rows)),
        markup.terms(weights) if (weights := _weights(first)) else "",
        markup.items(notes),
        markup.note(_NOTE),
    ]


def _cells(one: dict[str, Any]) -> list[str]:
    kept = [_share(one.get("calibration", {}).get(when, {}).get("agreement")) for when in ("before", "after")]
    return [
        str(one.get("how", fmt.MISSING)),
        fmt.count(one.get("converted")),
        fmt.count(one.get("left")),
        *kept,
    ]


def _share(value: float | None) -> str:
    return fmt.MISSING if value is None else f"{100 * value:.1f} %"


def _weights(one: dict[str, Any]) -> list[tuple[str, str]]:
    """What of the given weights is in the network, and what is not, and why."""
    found = [("Normalisation", str(one["normalisation"]))] if one.get("normalisation") else []
    loaded = one.get("weights")
    if not loaded:
        return found
    share = 100 * loaded["parameters"] / max(loaded["of"], 1)
    text = f"{loaded['label']}: {loaded['loaded']} tensors, {share:.1f} % of {loaded['of']:,} parameters"
    shapes = [
        f"{other['name']} ({_by(other['shape'])}, there {_by(other['there'])})"
        for other in loaded["other_shape"]
    ]
    rest = (
        ("New, as they have another shape there", shapes),
        ("New, as they are missing there", loaded["missing"]),
        ("Not used, as the network has none of the name", loaded["unexpected"]),
    )
    return [("Weights", text), *((what, _listed(names)) for what, names in rest if names), *found]


def _by(shape: list[int]) -> str:
    return "×".join(map(str, shape)) or "one number"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more
