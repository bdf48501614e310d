"""What pages say was measured is what the files of docs/results have: figures, seeds and intervals.

A page names such a file beside the figures that it has of it, in the same paragraph, item of a list or row
of a table; where tables follow the paragraph, they are of that file, too.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = sorted((DOCS / "results").glob("*.json"))
LINK = re.compile(r"\]\((?:docs/)?results/([^)]+\.json)\)")
NUMBER = r"[+−]?\d+(?:\.\d+)?"
SPREAD = re.compile(rf"({NUMBER}) ± ({NUMBER})")
INTERVAL = re.compile(r"([+−]\d+(?:\.\d+)?) to ([+−]\d+(?:\.\d+)?)")
SEEDS = re.compile(r"\| (\d+\.\d+(?:, \d+\.\d+)+) \|")

Series = list[list[float]]


def parts_of(text: str) -> Iterator[str]:
    """Paragraphs with the tables behind them, items of lists and rows of tables, that have a link."""
    parts = re.split(r"\n\n+|\n(?=- )", text)
    for place, part in enumerate(parts):
        if part.startswith("|"):
            yield from (row for row in part.splitlines() if LINK.search(row))
        elif LINK.search(part):
            tables = itertools.takewhile(lambda behind: behind.startswith("|"), parts[place + 1 :])
            yield "\n".join([part, *tables])


def pages() -> list[tuple[str, str, list[str]]]:
    """Page, part and the files that it names."""
    paths = [*sorted(DOCS.glob("*.md")), DOCS.parent / "README.md"]
    return [
        (path.name, part, LINK.findall(part))
        for path in paths
        for part in parts_of(path.read_text(encoding="utf-8"))
    ]


def series_of(found: dict[str, Any]) -> Series:
    """What was measured, a list of the seeds' figures each."""
    if "networks" in found:
        return attacked(found)
    if "ours" not in found:
        return []
    cells = list(found["ours"].values())
    return [one for cell in cells for one in (cell.values() if isinstance(cell, dict) else [cell])]


def attacked(found: dict[str, Any]) -> Series:
    """Shares of images in per cent, of the seeds of each operator and training under each attack."""
    by: dict[tuple[str, ...], list[float]] = {}
    for one in found["networks"]:
        for key in ("right", "fgsm", "bim", "apgd-ce", "standing"):
            if isinstance(one.get(key), int):
                share = 100 * one[key] / found["images"]
                by.setdefault((one["training"], one["operator"], key), []).append(share)
    return list(by.values())


def intervals_of(found: dict[str, Any]) -> list[list[float]]:
    """Intervals of all differences, of either sign."""
    judged = [*found.get("verdicts", [])]
    judged += [one for of in found.get("differences", {}).values() for one in of.values()]
    ends = [one["interval"] for one in judged if one["interval"]]
    return ends + [[-high, -low] for low, high in ends]


def as_written(value: float, text: str) -> bool:
    """Whether a value is what a text rounds it to."""
    digits = len(text.partition(".")[2])
    return abs(value - float(text.replace("−", "-"))) <= 0.5 * 10.0**-digits + 1e-9


def spread(values: list[float]) -> tuple[float, float]:
    return mean(values), stdev(values) if len(values) > 1 else 0.0


def differences_of(series: Series) -> Iterator[tuple[float, float]]:
    """Differences of equal seeds with their standard errors."""
    for one in series:
        for other in series:
            if one is not other and len(one) == len(other) > 1:
                apart = [a - b for a, b in zip(one, other, strict=True)]
                yield mean(apart), stdev(apart) / len(apart) ** 0.5


def wrong(part: str, files: list[dict[str, Any]]) -> list[str]:
    """What a part says that no file has."""
    series = [one for found in files for one in series_of(found) if one]
    known = [*map(spread, series), *differences_of(series)]
    ends = [one for found in files for one in intervals_of(found)]
    said = []
    for match in SPREAD.finditer(part):
        if not any(as_written(a, match[1]) and as_written(b, match[2]) for a, b in known):
            said.append(match[0])
    for match in INTERVAL.finditer(part) if ends else ():
        if not any(as_written(a, match[1]) and as_written(b, match[2]) for a, b in ends):
            said.append(match[0])
    for match in SEEDS.finditer(part):
        own = match[1].split(", ")
        if not any(len(one) == len(own) and all(map(as_written, one, own)) for one in series):
            said.append(match[0])
    return said


@pytest.mark.parametrize(("page", "part", "names"), pages(), ids=[f"{p}-{n[0]}" for p, _, n in pages()])
def test_a_page_says_what_was_measured(page: str, part: str, names: list[str]):
    files = [json.loads((DOCS / "results" / name).read_text(encoding="utf-8")) for name in names]
    assert wrong(part, files) == []


def test_every_file_is_named_and_says_how_it_was_made():
    named = {name for _, _, names in pages() for name in names}
    assert named == {path.name for path in RESULTS}
    for path in RESULTS:
        assert json.loads(path.read_text(encoding="utf-8"))["command"].startswith("decoupled ")


def test_another_figure_is_found():
    found = {
        "ours": {"a": [50.0, 52.0], "b": [40.0, 41.0]},
        "differences": {"a": {"b": {"interval": [-14.0, -7.0]}}},
    }
    right = "a 51.0 ± 1.4, b 40.5 ± 0.7 %, +10.5 ± 0.5, +7.0 to +14.0\n| 50.0, 52.0 |"
    assert wrong(right, [found]) == []
    for old, new in (
        ("51.0", "51.1"),
        ("± 0.7", "± 0.8"),
        ("+14.0", "+14.1"),
        ("52.0 |", "52.1 |"),
        ("+10.5", "+10.6"),
    ):
        assert len(wrong(right.replace(old, new), [found])) == 1
