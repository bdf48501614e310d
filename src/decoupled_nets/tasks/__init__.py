"""Tasks, one file each; every file here is found.

A task says what its data is and how it is augmented, which network it takes, its loss, its metric, what is
kept of each test image, and which sections the page gets. Nothing else in this package knows a task by name.
"""

from __future__ import annotations

from functools import cache

from .._discover import classes_of
from .._metric import Metric
from .._registry import unknown
from .metrics import Further, further, further_metrics
from .task import Task

DEFAULT = "classify"

__all__ = [
    "DEFAULT",
    "Further",
    "Metric",
    "Task",
    "find_task",
    "further",
    "further_metrics",
    "has_baselines",
    "tasks",
]


@cache
def tasks() -> dict[str, type[Task]]:
    """Every task by its name."""
    return {task.name: task for task in classes_of(__name__, Task) if hasattr(task, "name")}  # type: ignore[type-abstract]


def has_baselines(task: Task) -> bool:
    """Whether a task has something that needs no training."""
    return type(task).baselines is not Task.baselines


def find_task(name: str) -> type[Task]:
    """The task of that name.

    Raises:
        ValueError: there is none; the message lists what there is.
    """
    if name not in tasks():
        raise ValueError(unknown("task", name, list(tasks())))
    return tasks()[name]
