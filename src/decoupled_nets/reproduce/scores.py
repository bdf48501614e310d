"""What runs, and what needs no training, leave of each test image: scores of which a higher one is better."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from ..compare import CompareConfig
from ..compare.decide import image_scores, scores_from
from ..compare.jobs import BASELINES
from ..experiment import Job
from ..reports.decision import Scores
from ..reports.results import Run
from ..tasks import Task
from ..training.folder import OUTCOMES
from .table import Table
from .verdict import OfCells


def scores_of(jobs: list[Job], runs: list[Run], task: Task, place: Path) -> OfCells:
    """What each test image adds to the metric of each finished run, by cell and seed.

    Args:
        jobs: of the comparison.
        runs: what became of them.
        task: says what is kept of an image.
        place: where the comparison lies.
    """
    done = {(run.operator, run.seed): run.test.value for run in runs if run.test.images}
    found: dict[str, dict[int, Scores]] = {}
    for job in jobs:
        label, seed = job.arguments["label"], job.config.machine.seed
        value = done.get((label, seed))
        if value is None or value != value:
            continue
        scores = image_scores(task, place / job.name)
        if not task.share:  # pseudo-values have a small bias: what is reported is the metric itself
            scores = scores + (value - scores.mean())
        found.setdefault(label, {})[seed] = _upwards(task, scores)
    return found


def untrained_of(table: Table, config: CompareConfig, task: Task, place: Path) -> OfCells:
    """The same of what needs no training, for every seed: it has none, and does the same with all.

    Args:
        table: names what it has of it.
        config: the comparison.
        task: says what is kept of an image.
        place: where the comparison lies.
    """
    path = place / "runs" / BASELINES / OUTCOMES
    if not (table.untrained and path.is_file()):
        return {}
    # Two seeds at least: that nothing varies with them is known, and not a matter of how many there are.
    seeds = {*config.all_seeds, config.machine.seed + 1}
    kept = {name.split(" (")[0]: outcomes for name, outcomes in load_file(path).items()}
    scores = {
        row: _upwards(task, scores_from(task, kept[name].long()))
        for row, name in table.untrained.items()
        if name in kept
    }
    return {row: dict.fromkeys(seeds, own) for row, own in scores.items()}


def _upwards(task: Task, scores: Scores) -> Scores:
    return scores if task.metric.better == "higher" else -scores
