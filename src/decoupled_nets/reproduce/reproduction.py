"""What a reproduction found, beside the paper's table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .._metric import Metric
from ..reports.pictures import Picture
from ..reports.results import Tuning, to_plain
from ..reports.summary import at_the_edge
from .metrics import METRICS, Reported
from .table import Table
from .verdict import Verdict

RESULTS = "reproduction.json"
FEW = 8  # epochs, whose last quarter is two


@dataclass
class Training:
    """How far the training of a cell had gone.

    Attributes:
        accuracy: On up to 1,000 training images at the end, mean over seeds; None: not known.
        change: Of the metric on validation images in the last quarter, mean over seeds, as a share of the
            images or, where the metric has a unit, of itself; None: not known.
        epochs: How many there were; of a few nothing is said.
    """

    accuracy: float | None
    change: float | None
    epochs: int

    @property
    def flattened(self) -> bool:
        """Whether there was nothing left to learn, or no change any more."""
        if self.accuracy is not None and self.accuracy > 0.99:
            return True
        return self.epochs >= FEW and self.change is not None and abs(self.change) <= 0.01


@dataclass
class Reproduction:
    """A table beside what we found.

    Attributes:
        table: The paper's.
        scale: Of the experiment.
        cells: Those made, in the table's order.
        ours: By metric and cell the figure of each seed, in the table's unit.
        verdicts: One for each hypothesis.
        diverged: How many runs of each cell diverged, where any did.
        tuning: What was tried, and what was chosen; None: nothing was tuned.
        of_trials: The metric on validation images that trials were judged by.
        untuned: By cell the first figure of each seed without tuning, where training alone gives it.
        trainings: By cell how far its training had gone.
        data: That it was trained on; see :class:`~decoupled_nets.reports.results.Results`.
        seeds: Of the runs.
        environment: Versions, threads and machine, of the command that wrote this.
        margin: Differences up to this do not matter, in points or the unit of the data.
        facts: What it is about, as terms and their descriptions.
        flags: Networks whose attacks could have failed for reasons of their own, with the checks that say so.
        pictures: Of what was measured, beside the differences.
        command: That makes it again.
        configuration: Whole, in plain values.
    """

    table: Table
    scale: str
    cells: list[str]
    ours: dict[str, dict[str, list[float]]]
    verdicts: list[Verdict]
    diverged: dict[str, int] = field(default_factory=dict)
    tuning: Tuning | None = None
    of_trials: Metric | None = None
    untuned: dict[str, list[float]] = field(default_factory=dict)
    trainings: dict[str, Training] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    margin: float = 0.0
    facts: dict[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    command: str = ""
    configuration: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[str]:
        """The rows of the table: those that need no training, if they were measured, and the cells."""
        measured = {row for of_cells in self.ours.values() for row in of_cells}
        return [*(row for row in self.table.untrained if row in measured), *self.cells]

    @property
    def reported(self) -> Reported:
        """The kind of its figures; the first where it has several."""
        return METRICS[self.table.metrics[0]]

    @property
    def chosen(self) -> dict[str, dict[str, Any]]:
        """By cell the options that tuning chose; empty without tuning."""
        return {} if self.tuning is None else self.tuning.chosen

    @property
    def edge(self) -> list[str]:
        """Cells whose choice lies at the edge of what was tried."""
        settings = [] if self.tuning is None else self.tuning.settings
        return [cell for cell, own in self.chosen.items() if at_the_edge(own, settings)]

    @property
    def unsettled(self) -> list[str]:
        """Cells whose training had not flattened."""
        return [cell for cell, one in self.trainings.items() if not one.flattened]

    def _tuned(self) -> dict[str, Any] | None:
        if self.tuning is None:
            return None
        return {
            "settings": self.tuning.settings,
            "seeds": self.tuning.seeds,
            "trials": to_plain(self.tuning.trials),
            "chosen": self.tuning.chosen,
            "untuned": to_plain(self.untuned),
        }

    def to_dict(self) -> dict[str, Any]:
        """All of it, in plain values."""
        return {
            "table": self.table.name,
            "scale": self.scale,
            "command": self.command,
            "data": self.data,
            "environment": self.environment,
            "seeds": self.seeds,
            "margin": self.margin,
            "options": self.configuration,
            "diverged": self.diverged,
            "tuning": self._tuned(),
            "cells": self.cells,
            "paper": {row: dict(self.table.figures.get(row, {})) for row in self.rows},
            "ours": to_plain(self.ours),
            "verdicts": [
                {
                    "cell": one.hypothesis.cell, "against": one.hypothesis.against,
                    "direction": one.hypothesis.direction, "metric": one.hypothesis.metric,
                    "verdict": one.word, "reason": one.reason, "paper": one.paper, "ours": to_plain(one.mean),
                    "interval": to_plain(one.interval),
                }
                for one in self.verdicts
            ],
            "flags": self.flags,
            "trainings": {cell: to_plain(one) for cell, one in self.trainings.items()},
        }  # fmt: skip
