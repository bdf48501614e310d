"""The section on what the networks started from, where that was not new weights of a network of ours."""

from __future__ import annotations

from typing import Any

from ...tasks import find_task
from .. import format as fmt
from .. import markup
from ..tables import Table
from . import Content, section

_MOST = 6  # names in a list


@section("What the networks started from", 15)
def start(content: Content) -> list[str]:
    """A table with a row an operator, of the first seed, and what is to be known of it."""
    results = content.results
    first = [run for name in results.operators for run in results.of(name)[:1]]
    told = {run.operator: run.start for run in first if run.start.get("how") or run.start.get("weights")}
    parts: list[str] = []
    if any(
        "weights" in one or "converted" in one or "calibration" in one or "upsampling" in one
        for one in told.values()
    ):
        head = [
            results.kind.capitalize(),
            "Weights",
            "Of the parameters",
            "Converted",
            "Start",
            "Same class as plain, before",
            "after",
        ]
        rows = [[name, *_row(one)] for name, one in told.items()]
        if any("upsampling" in one for one in told.values()):
            head.append("Upsampling replaced")
            rows = [[*row, _upsampling(one)] for row, one in zip(rows, told.values(), strict=True)]
        norm = sorted({one["normalisation"] for one in told.values() if "normalisation" in one})
        notes = [(name, note) for name, one in told.items() for note in one.get("notes", [])]
        parts += [
            markup.table(Table("Start of the first seed's networks", head, rows)),
            markup.note(f"Images are normalised by {fmt.listed(norm)}."),
            markup.terms(unfit) if (unfit := _unfit(next(iter(told.values())))) else "",
            markup.items(notes),
        ]
    wanted = "features" in find_task(results.task).sections and results.config.get("feature_epochs")
    if wanted and "features" not in results.sections:
        model = results.config.get("model", "this network")
        parts.append(markup.note(f"There are no features in two dimensions: {model} is not built with them."))
    return parts


def _row(one: dict[str, Any]) -> list[str]:
    weights, changes = one.get("weights"), one.get("calibration", {})
    agreement = [changes.get(name, {}).get("agreement") for name in ("before", "after")]
    total = one.get("converted", 0) + one.get("left", 0)
    return [
        weights["label"] if weights else "new",
        f"{100 * weights['parameters'] / max(weights['of'], 1):.1f} %" if weights else "–",
        f"{one['converted']} of {total} layers" if "converted" in one else "–",
        one.get("how", "–"),
        *("–" if share is None else f"{100 * share:.1f} %" for share in agreement),
    ]


def _upsampling(one: dict[str, Any]) -> str:
    calls = one.get("upsampling")
    return f"{calls['converted']} of {calls['converted'] + calls['left']} calls" if calls else "–"


def _unfit(one: dict[str, Any]) -> list[tuple[str, str]]:
    """What of the weights and of the network does not fit the other, and why."""
    weights = one.get("weights") or {}
    shapes = [
        f"{other['name']} ({_by(other['shape'])}, there {_by(other['there'])})"
        for other in weights.get("other_shape", [])
    ]
    every = (
        ("New, of another shape there", shapes),
        ("New, missing there", weights.get("missing", [])),
        ("Not used, unknown here", weights.get("unexpected", [])),
    )
    return [(what, _listed(names)) for what, names in every if names]


def _by(shape: list[int]) -> str:
    return "×".join(map(str, shape)) or "one number"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more
