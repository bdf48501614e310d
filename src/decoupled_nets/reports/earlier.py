"""Results of earlier versions, brought to the present form."""

from __future__ import annotations

from typing import Any

from .._statistics import wilson


def from_schema_2(raw: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 had classification only, and counts of images; of single images it kept nothing."""

    def share(count: dict[str, int]) -> float | None:
        return count["correct"] / count["total"] if count["total"] else None

    def score(count: dict[str, int]) -> dict[str, Any]:
        interval = wilson(count["correct"], count["total"])
        ends = (None, None) if interval is None else (interval.low, interval.high)
        return {"value": share(count), "images": count["total"], "low": ends[0], "high": ends[1]}

    runs = [
        {
            **run,
            "history": [{**epoch, "val": share(epoch["val"])} for epoch in run["history"]],
            "test": score(run["test"]),
            "attacked": {name: score(count) for name, count in run["attacked"].items()},
            "further": {},
        }
        for run in raw["runs"]
    ]
    return {
        **raw,
        "runs": runs,
        "features": [{**one, "val": share(one["val"])} for one in raw["features"]],
        "task": "classify",
        "metric": {"name": "accuracy", "title": "accuracy", "unit": "%", "better": "higher"},
        "further": {},
        "interval": "wilson",
        "sections": ["attacks", "features"],
        "examples": {},
        "differences": {},
        "margin": 0.005,
        "tuning": None,
        "schema": 3,
    }
