"""Further numbers about a network on the test images, one file each; every file here is found.

A file has one function with :func:`further`, from the names of the classes to a metric of torchmetrics, which
takes what the network gives and the targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torchmetrics

from ..._discover import modules_of
from ..._metric import Metric

Make = Callable[[Sequence[str]], torchmetrics.Metric]


@dataclass(frozen=True)
class Further:
    """A further metric of some tasks; ``per_class``: one number a class; ``table``: rows of numbers."""

    metric: Metric
    tasks: tuple[str, ...]
    make: Make
    per_class: bool
    table: bool = False


_FOUND: list[Further] = []


def further(
    *tasks: str,
    title: str,
    unit: str = "%",
    better: Literal["higher", "lower"] = "higher",
    per_class: bool = False,
    table: bool = False,
) -> Callable[[Make], Make]:
    """Decorator: have a metric measured in these tasks; its name is the function's."""

    def noted(make: Make) -> Make:
        _FOUND.append(Further(Metric(make.__name__, title, unit, better), tasks, make, per_class, table))
        return make

    return noted


@cache
def _searched() -> None:
    modules_of(__name__)


def further_metrics(task: str) -> list[Further]:
    """The further metrics of a task, by title."""
    _searched()
    return sorted((one for one in _FOUND if task in one.tasks), key=lambda one: one.metric.title)
