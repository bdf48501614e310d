"""How soon trainings get somewhere: the accuracy over all their epochs, and when they reach a level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..reports.decision import Scores
from ..reports.results import Results, Run
from ..reports.summary import best_of, first_reaching
from .table import Table
from .verdict import OfCells


def areas(runs: Sequence[Run], classes: int) -> OfCells:
    """The mean of the validation accuracy over the epochs: the area under its curve. One number a run.

    An epoch without a number, or in which the loss had stopped being one, counts as a guess.
    """
    found: dict[str, dict[int, Scores]] = {}
    for run in sorted(runs, key=lambda one: one.seed):
        if run.history:
            found.setdefault(run.operator, {})[run.seed] = np.array([_mean(run, 1 / classes)])
    return found


def _mean(run: Run, guess: float) -> float:
    values, broken = [], False
    for epoch in run.history:
        broken = broken or not math.isfinite(epoch.train_loss)
        values.append(guess if broken or not math.isfinite(epoch.val) else epoch.val)
    return sum(values) / len(values)


def reached(table: Table, results: Results) -> dict[str, dict[str, list[float]]]:
    """Epochs and training seconds until a run has the best accuracy on validation images of its baseline.

    As in a comparison: the baseline's run with the same seed counts, and its best is taken over all epochs.
    A run that never gets there has infinity. A cell's baseline is what the first hypothesis about it names;
    one that no hypothesis is about is its own.

    Returns:
        By metric and cell a number for each seed that both have.
    """
    baselines = {one.against: one.against for one in table.hypotheses if one.against}
    baselines.update({one.cell: one.against for one in reversed(table.hypotheses) if one.against})
    found: dict[str, dict[str, list[float]]] = {"epochs_to_best": {}, "seconds_to_best": {}}
    for label in results.operators:
        partners = {run.seed: run for run in results.of(baselines.get(label, label))}
        for run in results.of(label):
            partner = partners.get(run.seed)
            target = None if partner is None else best_of(partner, results.metric)
            if target is None:
                continue
            first = first_reaching(run, target, results.metric) or (math.inf, math.inf)
            for name, value in zip(found, first, strict=True):
                found[name].setdefault(label, []).append(value)
    return found
