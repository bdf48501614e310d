"""How far the trainings of a table's cells had gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..compare import CompareConfig
from ..data import ImageData
from ..evaluation.device import device_of
from ..evaluation.targets import find_targets
from ..evaluation.trainings import training_of
from ..experiment import Job
from ..experiment.job import RESULT
from ..reports.results import Results, Run
from ..tasks import Task
from .reproduction import Training


def trainings_of(
    jobs: list[Job], config: CompareConfig, results: Results, task: Task, data: ImageData, place: Path
) -> dict[str, Training]:
    """By cell how far its training had gone.

    Args:
        jobs: of the comparison.
        config: the comparison.
        results: its runs.
        task: classifiers are also asked about their training images.
        data: what they were trained on.
        place: where the comparison lies.
    """
    told = _classifiers(jobs, config, data, place) if task.share else _others(results, task)
    return {
        cell: Training(_mean(own, "train_accuracy"), _mean(own, "change"), own[0]["epochs"] or 0)
        for cell, own in told.items()
    }


def _classifiers(
    jobs: list[Job], config: CompareConfig, data: ImageData, place: Path
) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    device = device_of("cpu" if config.machine.accelerator == "cpu" else "auto")
    for job in jobs:
        own = place / job.name
        if not (own / RESULT).is_file():
            continue
        target = find_targets([str(own)])[0]
        network = target.network(data).float().to(device).eval()
        found.setdefault(job.arguments["label"], []).append(training_of(target, network, data, device))
    return found


def _others(results: Results, task: Task) -> dict[str, list[dict[str, Any]]]:
    """By the metric on validation images alone: in points, or where it has a unit in shares of itself."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in results.runs:
        told = {"epochs": len(run.history), "change": _change(run, relative=task.metric.unit != "%")}
        found.setdefault(run.operator, []).append(told)
    return found


def _change(run: Run, relative: bool) -> float | None:
    values = [epoch.val for epoch in run.history]
    last = max(len(values) // 4, 1)
    if len(values) <= last:
        return None
    change = values[-1] - values[-1 - last]
    change = change / values[-1 - last] if relative and values[-1 - last] else change
    return change if change == change else None


def _mean(told: list[dict[str, Any]], name: str) -> float | None:
    values = [one[name] for one in told if one.get(name) is not None]
    return sum(values) / len(values) if values else None
