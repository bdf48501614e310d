"""A table of a paper as a file: its cells, its figures, what it is said to show, and how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

import yaml

from .._options import owners
from .._registry import unknown
from ..compare import CompareConfig
from ..compare.variants import check_may_differ
from .metrics import METRICS, UNTRAINED, Measured, measured

Direction = Literal["better", "worse", "alike", "positive", "does not converge"]
#: Those that say something of a cell alone.
ALONE = ("positive", "does not converge")
#: What a paper may say in place of a number.
NOT_CONVERGED = "N/C"
_KEYS = ("title", "source", "claims", "metric", "options", "cells", "figures", "hypotheses", "scales",
         "notes", "surrogate", "untrained", "like")  # fmt: skip
_OPTIONAL = ("notes", "surrogate", "untrained", "like")
SCALES = ("small", "medium", "paper")


@dataclass(frozen=True)
class Hypothesis:
    """What a table is said to show of one cell, written down before anything is measured.

    Attributes:
        cell: The cell that it is about.
        direction: Which way the cell is said to differ from `against`, or that it does not differ by what
            matters; or of the cell alone that its figure is positive, or that it does not converge.
        metric: In which of the table's metrics.
        against: The cell that it is compared with; none for what is said of the cell alone.
        claim: The same in words.
    """

    cell: str
    direction: Direction
    metric: str
    against: str = ""
    claim: str = ""

    @property
    def text(self) -> str:
        """The claim, or what it says in short."""
        words = {"better": "better than", "worse": "worse than", "alike": "as good as"}
        return self.claim or " ".join(
            filter(None, [self.cell, words.get(self.direction, self.direction), self.against])
        )


@dataclass(frozen=True)
class Scale:
    """One size of the experiment.

    Attributes:
        name: `small`, `medium` or `paper`.
        options: Of the comparison, by their flat names.
        cells: The cells that it has where no others are named; empty: all.
        needs: What the option `data` has to name; empty: data is there.
    """

    name: str
    options: Mapping[str, Any]
    cells: tuple[str, ...] = ()
    needs: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
        name: Of its file.
        title: What it shows.
        source: Paper and table.
        claims: What the paper concludes from it.
        metrics: What its figures are, the first one where a hypothesis names none.
        options: Of the comparison, the same for all cells and scales.
        cells: By label what each changes.
        figures: By cell and metric the paper's own.
        hypotheses: See :class:`Hypothesis`.
        scales: By name.
        notes: What differs from the paper in any case.
        surrogate: The cell on which images of black-box attacks are made.
        untrained: Rows that need no training: what the task calls them, by their label.
    """

    name: str
    title: str
    source: str
    claims: str
    metrics: tuple[str, ...]
    options: Mapping[str, Any]
    cells: Mapping[str, Mapping[str, Any]]
    figures: Mapping[str, Mapping[str, float | str]]
    hypotheses: Sequence[Hypothesis]
    scales: Mapping[str, Scale]
    notes: str = ""
    surrogate: str = ""
    untrained: Mapping[str, str] = field(default_factory=dict)

    @property
    def first_scale(self) -> str:
        """The scale where none is named: the first of the file."""
        return next(iter(self.scales))

    @property
    def measured(self) -> Measured:
        """How its figures come about: by training, by attacks, by counting or by the clock."""
        return measured(self.metrics)

    def figure(self, cell: str, metric: str) -> float | str | None:
        """What the paper has in this cell; None: nothing."""
        return self.figures.get(cell, {}).get(metric)

    def chosen(self, scale: str, cells: str = "") -> list[str]:
        """The cells to be made, in the table's order.

        Args:
            scale: whose own choice counts where there is none.
            cells: labels separated by commas; empty: those of the scale.

        Raises:
            ValueError: there is no such cell.
        """
        named = [label.strip() for label in cells.split(",")] if cells else list(self.scales[scale].cells)
        for label in named:
            if label not in self.cells:
                raise ValueError(unknown(f"cell of {self.name}", label, list(self.cells)))
        return [label for label in self.cells if label in named or not named]


@cache
def table_names() -> list[str]:
    """The names of all tables."""
    found = files(f"{__package__}.tables").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in found if file.name.endswith(".yaml"))


@cache
def table(name: str) -> Table:
    """The table of that name.

    Raises:
        ValueError: there is none; the message lists what there is.
    """
    if name not in table_names():
        raise ValueError(unknown("table", name, table_names()))
    return read(name, _text(name))


def _text(name: str) -> str:
    return files(f"{__package__}.tables").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def read(name: str, text: str) -> Table:
    """A table from the text of its file.

    Raises:
        ValueError: a key is missing or unknown, or what it holds is not what it has to be.
    """
    raw = yaml.safe_load(text)
    if not isinstance(raw, dict):
        raise ValueError(f"{name} holds no table; needed: the keys {', '.join(_KEYS)}")
    raw = _completed(raw)
    _check_keys(name, raw, _KEYS, _OPTIONAL)
    metrics = tuple(raw["metric"]) if isinstance(raw["metric"], list) else (raw["metric"],)
    for metric in metrics:
        if metric not in METRICS:
            raise ValueError(f"{name}: {unknown('metric', metric, list(METRICS))}")
    cells = {str(label): dict(options or {}) for label, options in raw["cells"].items()}
    for label, options in cells.items():
        for option in options:
            try:
                check_may_differ(option)
            except ValueError as error:
                raise ValueError(f"{name}, cell {label}: {error}") from None
    _check_options(f"{name}, options", raw["options"])
    untrained = {str(row): str(own) for row, own in raw.get("untrained", {}).items()}
    if both := sorted(set(untrained) & set(cells)):
        raise ValueError(f"{name} has {both[0]} twice; needed: rows without training that are no cells")
    rows = {**untrained, **cells}
    return Table(
        name, raw["title"], raw["source"], " ".join(raw["claims"].split()), metrics, raw["options"], cells,
        _figures(name, raw["figures"], rows, metrics),
        [_hypothesis(name, one, rows, metrics) for one in raw["hypotheses"]],
        {scale: _scale(name, scale, raw["scales"], cells) for scale in raw["scales"]},
        " ".join(raw.get("notes", "").split()), _surrogate(name, raw.get("surrogate", ""), cells), untrained,
    )  # fmt: skip


def _completed(raw: dict[str, Any]) -> dict[str, Any]:
    """A table that is like another: all of that one but what it has itself; options are added to its."""
    if "like" not in raw:
        return raw
    if raw["like"] not in table_names():
        raise ValueError(unknown("table", str(raw["like"]), table_names()))
    other = yaml.safe_load(_text(raw["like"]))
    return {**other, **raw, "options": {**other["options"], **raw.get("options", {})}}


def _check_keys(place: str, raw: Mapping[str, Any], keys: Sequence[str], optional: Sequence[str]) -> None:
    if strange := [key for key in raw if key not in keys]:
        raise ValueError(f"{place}: {unknown('key', str(strange[0]), list(keys))}")
    if missing := [key for key in keys if key not in raw and key not in optional]:
        raise ValueError(f"{place} has no {missing[0]}; needed: the keys {', '.join(keys)}")


def _check_options(place: str, options: Mapping[str, Any]) -> None:
    known = [name for name in owners(CompareConfig) if name not in ("operators", "variants")]
    if strange := [option for option in options if option not in known]:
        raise ValueError(f"{place}: {unknown('option', strange[0], known)}")


def _figures(
    name: str, raw: Mapping[str, Any], cells: Mapping[str, Any], metrics: Sequence[str]
) -> dict[str, dict[str, float | str]]:
    """By cell and metric; a table with one metric has its numbers alone."""
    found: dict[str, dict[str, float | str]] = {}
    for cell, own in raw.items():
        if cell not in cells:
            raise ValueError(f"{name}, figures: {unknown('cell', str(cell), list(cells))}")
        own = own if isinstance(own, dict) else {metrics[0]: own}
        for metric, value in own.items():
            if metric not in metrics:
                raise ValueError(f"{name}, figures of {cell}: {unknown('metric', metric, list(metrics))}")
            if not (isinstance(value, int | float) or value == NOT_CONVERGED):
                raise ValueError(
                    f"{name}, figures of {cell}: {value!r} received; needed: a number or {NOT_CONVERGED}"
                )
        found[cell] = own
    return found


def _hypothesis(
    name: str, raw: Mapping[str, Any], cells: Mapping[str, Any], metrics: Sequence[str]
) -> Hypothesis:
    place = f"{name}, a hypothesis"
    keys = ("cell", "against", "direction", "metric", "claim")
    _check_keys(place, raw, keys, ("against", "metric", "claim"))
    one = Hypothesis(**{"metric": metrics[0], **raw})
    if one.direction not in get_args(Direction):
        raise ValueError(f"{place}: {unknown('direction', str(one.direction), list(get_args(Direction)))}")
    if one.metric not in metrics:
        raise ValueError(f"{place}: {unknown('metric', one.metric, list(metrics))}")
    if METRICS[one.metric].kept in ("some runs", "nothing"):
        raise ValueError(
            f"{place}: metric = {one.metric} received, of which nothing is judged; needed: one that every run"
            " has, such as curve, as there is no difference to a run that never gets there"
        )
    if (one.direction in ALONE) == bool(one.against):
        raise ValueError(
            f"{place}: against = {one.against!r} and direction = {one.direction!r} received; needed: a cell"
            " to compare with, or what is said of a cell alone"
        )
    if one.direction == "alike" and METRICS[one.metric].measured in UNTRAINED:
        raise ValueError(f"{place}: alike received for {one.metric}; needed: a metric of trained networks")
    for cell in filter(None, (one.cell, one.against)):
        if cell not in cells:
            raise ValueError(f"{place}: {unknown('cell', cell, list(cells))}")
    return one


def _surrogate(name: str, cell: str, cells: Mapping[str, Any]) -> str:
    if cell and cell not in cells:
        raise ValueError(f"{name}, surrogate: {unknown('cell', cell, list(cells))}")
    return cell


def _scale(name: str, scale: str, raw: Mapping[str, Any], cells: Mapping[str, Any]) -> Scale:
    if scale not in SCALES:
        raise ValueError(f"{name}: {unknown('scale', scale, list(SCALES))}")
    options = dict(raw[scale] or {})
    own, needs = options.pop("cells", []), options.pop("needs", "")
    for cell in own:
        if cell not in cells:
            raise ValueError(f"{name}, {scale}: {unknown('cell', str(cell), list(cells))}")
    _check_options(f"{name}, {scale}", options)
    return Scale(scale, options, tuple(own), needs)
