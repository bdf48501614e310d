"""Further numbers about a network on the test images, one file each; every file here is found.

A file has one function with :func:`further`, from the names of the classes to a metric of torchmetrics, which
takes what the network gives and the targets or, with ``outcomes``, what the task keeps of each image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torchmetrics

from ..._discover import modules_of
from ..._metric import Metric

Make = Callable[[Sequence[str]], torchmetrics.Metric]


@dataclass(frozen=True)
class Further:
    """A further metric of some tasks.

    Attributes:
        metric: Name, title, unit.
        tasks: That have it.
        make: Gives one from the names of the classes.
        per_class: Whether it is one number a class.
        table: Whether it is rows of numbers.
        outcomes: Whether it takes what the task keeps of each image, not the network's outputs and targets.
    """

    metric: Metric
    tasks: tuple[str, ...]
    make: Make
    per_class: bool
    table: bool = False
    outcomes: bool = False

    def update(self, measured: torchmetrics.Metric, outputs: Any, targets: Any, outcomes: Any) -> None:
        """Have a metric that was made see a batch."""
        if self.outcomes:
            measured.update(outcomes)
        else:
            measured.update(outputs, targets)


_FOUND: list[Further] = []


def further(
    *tasks: str,
    title: str,
    unit: str = "%",
    better: Literal["higher", "lower"] = "higher",
    per_class: bool = False,
    table: bool = False,
    outcomes: bool = False,
) -> Callable[[Make], Make]:
    """Decorator: have a metric measured in these tasks; its name is the function's."""

    def noted(make: Make) -> Make:
        own = Metric(make.__name__, title, unit, better)
        _FOUND.append(Further(own, tasks, make, per_class, table, outcomes))
        return make

    return noted


@cache
def _searched() -> None:
    modules_of(__name__)


def further_metrics(task: str) -> list[Further]:
    """The further metrics of a task, by title."""
    _searched()
    return sorted((one for one in _FOUND if task in one.tasks), key=lambda one: one.metric.title)
