"""What pages say was measured is what files of docs/results have: means, seeds, differences and intervals.

A page names such a file in the paragraph, item of a list or row of a table that has figures of it; where
tables follow the paragraph, they are of that file, too. A row of a table is held to the cell that it names,
or to the difference of two. In prose a figure belongs to the cell whose name stands before it, or to any.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = sorted((DOCS / "results").glob("*.json"))
LINK = re.compile(r"\]\((?:docs/)?results/([^)]+\.json)\)")
SPREAD = re.compile(r"(?:(?P<name>[\w@-]+)`? )?(?P<mean>[+−]?\d+(?:\.\d+)?) ± (?P<sd>\d+(?:\.\d+)?)")
ENDS = r"(?P<low>[+−]\d+(?:\.\d+)?) to (?P<high>[+−]\d+(?:\.\d+)?)"
INTERVAL = re.compile(rf"(?:(?P<mean>[+−]\d+(?:\.\d+)?)(?: points| %)? \((?:95 % interval )?)?{ENDS}")
SEEDS = re.compile(r"\| (\d+\.\d+(?:, \d+\.\d+)+) (?=\|)")


@dataclass
class Difference:
    """By how much a cell lies above another, in the unit of the figures, or is better than it."""

    pair: tuple[str, str]
    mean: float
    ends: tuple[float, float]


@dataclass
class Found:
    """What files have."""

    #: By cell the figures of the seeds, of several trainings or metrics.
    cells: dict[str, list[list[float]]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    def pairs(self) -> Iterator[tuple[tuple[str, str], float, float]]:
        """Differences of equal seeds, with their standard errors."""
        for one, other in itertools.permutations(self.cells, 2):
            for a, b in itertools.product(self.cells[one], self.cells[other]):
                if len(a) == len(b) > 1:
                    apart = [x - y for x, y in zip(a, b, strict=True)]
                    yield (one, other), mean(apart), stdev(apart) / len(apart) ** 0.5


def read(names: list[str]) -> Found:
    """Every file, whatever wrote it."""
    all_of_them = Found()
    for name in names:
        found = json.loads((DOCS / "results" / name).read_text(encoding="utf-8"))
        for cell, series in cells_of(found):
            all_of_them.cells.setdefault(cell, []).append(series)
        all_of_them.differences += differences_of(found)
    return all_of_them


def cells_of(found: dict[str, Any]) -> Iterator[tuple[str, list[float]]]:
    if "networks" in found:  # shares of images that attacks left, in per cent
        by: dict[tuple[str, str, str], list[float]] = {}
        for one in found["networks"]:
            for key in ("right", "fgsm", "bim", "apgd-ce", "standing"):
                if isinstance(one.get(key), int):
                    share = 100 * one[key] / found["images"]
                    by.setdefault((one["operator"], one["training"], key), []).append(share)
        yield from ((operator, series) for (operator, _, _), series in by.items())
    for cell, value in found.get("ours", {}).items():
        yield from value.items() if isinstance(value, dict) else [(cell, value)]
    yield from found.get("training_loss", {}).items()
    yield from ((cell, [value]) for cell, value in found.get("untrained", {}).items())
    yield from ((found.get("tuning") or {}).get("untuned") or {}).items()


def differences_of(found: dict[str, Any]) -> Iterator[Difference]:
    """All differences, both ways round."""
    for one in found.get("verdicts", []):
        if one["interval"]:
            yield from both_ways((one["cell"], one["against"]), one["ours"], *one["interval"])
    kinds = found.get("differences", {})
    every = [kinds, *(value for value in kinds.values() if "ours" not in next(iter(value.values())))]
    for of in every:
        for baseline, cells in of.items():
            for cell, one in cells.items():
                if one.get("interval"):
                    yield from both_ways((cell, baseline), one["ours"], *one["interval"])


def both_ways(pair: tuple[str, str], value: float, low: float, high: float) -> list[Difference]:
    return [Difference(pair, value, (low, high)), Difference(pair[::-1], -value, (-high, -low))]


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


def as_written(value: float, text: str) -> bool:
    """Whether a value is what a text rounds it to."""
    digits = len(text.partition(".")[2])
    return abs(value - float(text.replace("−", "-"))) <= 0.5 * 10.0**-digits + 1e-9


def spread(values: list[float]) -> tuple[float, float]:
    return mean(values), stdev(values) if len(values) > 1 else 0.0


def wrong(part: str, found: Found) -> list[str]:
    """What a part says that the files do not have."""
    said: list[str] = []
    for line in part.splitlines() if "\n|" in part or part.startswith("|") else [part]:
        row = line.startswith("|") and not LINK.search(line)
        head = line.split("|")[1] if row else ""
        names = [one for one in re.findall(r"[\w@-]+", head) if one in found.cells]
        said += wrong_in(line, names, found)
    return said


def wrong_in(line: str, names: list[str], found: Found) -> list[str]:
    """What a line says that is not of the cells `names`; where there are none, of no cell."""
    said = []
    for match in SPREAD.finditer(line):
        a, b = match["mean"], match["sd"]
        own = names or [one for one in [match["name"]] if one in found.cells] or list(found.cells)
        known = [spread(series) for cell in own for series in found.cells[cell]] if len(names) < 2 else []
        if a[0] in "+−" or len(names) == 2:
            wanted = tuple(names) if len(names) == 2 else None
            known += [(apart, error) for pair, apart, error in found.pairs() if wanted in (None, pair)]
        if not any(as_written(x, a) and as_written(y, b) for x, y in known):
            said.append(match[0])
    for match in INTERVAL.finditer(line):
        fits = [
            one
            for one in found.differences
            if (not names or one.pair[: len(names)] == tuple(names[:2]))
            and as_written(one.ends[0], match["low"])
            and as_written(one.ends[1], match["high"])
            and (match["mean"] is None or as_written(one.mean, match["mean"]))
        ]
        if not fits:
            said.append(match[0])
    for match in SEEDS.finditer(line):
        own_seeds = match[1].split(", ")
        cells = [found.cells[cell] for cell in names or found.cells]
        every = [one for of in cells for one in of if len(one) == len(own_seeds)]
        if not any(all(map(as_written, one, own_seeds)) for one in every):
            said.append(match[0])
    return said


@pytest.mark.parametrize(("page", "part", "names"), pages(), ids=[f"{p}-{n[0]}" for p, _, n in pages()])
def test_a_page_says_what_was_measured(page: str, part: str, names: list[str]) -> None:
    assert wrong(part, read(names)) == []


def test_every_file_is_named_and_says_how_it_was_made() -> None:
    named = {name for _, _, names in pages() for name in names}
    assert named == {path.name for path in RESULTS}
    for path in RESULTS:
        assert json.loads(path.read_text(encoding="utf-8"))["command"].startswith("decoupled ")


FOUND = Found(
    {"a": [[50.0, 52.0]], "b": [[40.0, 41.0]]},
    [*both_ways(("a", "b"), 10.5, 7.0, 14.0), *both_ways(("b", "c"), 1.0, -2.0, 4.0)],
)
PART = """a 51.0 ± 1.4, b 40.5 ± 0.7 %, ahead by +10.5 points (+7.0 to +14.0)
| | | |
| `a` | 51.0 ± 1.4 | 50.0, 52.0 |
| `b` | 40.5 ± 0.7 | −10.5 (−14.0 to −7.0) |
| `a` − `b` | +10.5 ± 0.5 | +7.0 to +14.0 |"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a 51.0 ± 1.4", "a 51.1 ± 1.4"),
        ("a 51.0 ± 1.4", "b 51.0 ± 1.4"),
        ("b 40.5 ± 0.7", "b 40.5 ± 0.8"),
        ("+10.5 points", "−10.5 points"),
        ("(+7.0 to +14.0)", "(−7.0 to +14.0)"),
        ("(+7.0 to +14.0)", "(−14.0 to −7.0)"),
        ("| `a` | 51.0 ± 1.4", "| `b` | 51.0 ± 1.4"),
        ("50.0, 52.0", "50.0, 52.1"),
        ("50.0, 52.0 |", "40.0, 41.0 |"),
        ("−10.5 (−14.0 to −7.0)", "+10.5 (+7.0 to +14.0)"),
        ("+10.5 ± 0.5", "−10.5 ± 0.5"),
        ("+10.5 ± 0.5", "51.0 ± 1.4"),
        ("| +7.0 to +14.0", "| −14.0 to −7.0"),
        ("| +7.0 to +14.0", "| −2.0 to +4.0"),
    ],
)
def test_another_figure_sign_or_cell_is_found(old: str, new: str) -> None:
    assert wrong(PART, FOUND) == []
    assert old in PART
    assert len(wrong(PART.replace(old, new), FOUND)) >= 1
