"""What a comparison can decide, from what was kept of each test image in every run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ..reports.decision import Difference, Scores, differences, left_out, pseudo_values
from ..reports.results import Run
from ..tasks import Task
from ..training.folder import OUTCOMES


def decide(
    task: Task, runs: Iterable[Run], baseline: str, folders: dict[tuple[str, int], Path]
) -> dict[str, Difference]:
    """Every operator's difference to the baseline in the task's metric.

    Args:
        task: says what is kept of an image.
        runs: the finished runs; one that diverged counts as what it scored.
        baseline: the operator that all others are compared with.
        folders: of the runs, by operator and seed.

    Returns:
        One for each operator that shares a seed with the baseline; empty without test images.
    """
    values: dict[str, dict[int, float]] = {}
    scores: dict[str, dict[int, Scores]] = {}
    for run in runs:
        if run.test.images and run.test.value == run.test.value:
            values.setdefault(run.operator, {})[run.seed] = run.test.value
            scores.setdefault(run.operator, {})[run.seed] = image_scores(
                task, folders[run.operator, run.seed]
            )
    if baseline not in scores:
        return {}
    found = differences(scores, baseline, better=task.metric.better)
    # Pseudo-values of a ratio have a small bias; what is reported is the difference of the values.
    return {
        operator: dataclasses.replace(one, mean=_mean(values[operator], values[baseline]))
        for operator, one in found.items()
    }


def image_scores(task: Task, folder: Path) -> Scores:
    """What each test image adds to the metric of a run, (images,).

    Raises:
        FileNotFoundError: the run kept nothing of its images.
    """
    return scores_from(task, load_file(folder / OUTCOMES)["outcomes"].long())


def scores_from(task: Task, outcomes: Tensor) -> Scores:
    """What each image adds to the metric, (images,), by what is kept of all of them, (images, counts)."""
    if task.share:
        return outcomes[:, 0].double().numpy()
    if not task.adds:
        return left_out(len(outcomes), task.scorer(outcomes))
    return pseudo_values(
        outcomes.numpy(), lambda totals, images: task.value(torch.from_numpy(totals), images)
    )


def _mean(own: dict[int, float], baseline: dict[int, float]) -> float:
    return float(np.mean([own[seed] - baseline[seed] for seed in sorted(own.keys() & baseline.keys())]))
