"""How long the runs of a comparison will take, from a few steps of some of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from ..compare import CompareConfig
from ..compare.jobs import runs_of, trials_of
from ..compare.run import chosen_in
from ..data import ImageData
from ..experiment.devices import nbytes
from ..experiment.job import RESULT
from ..tasks import Task
from ..training import TaskModule, TrainConfig
from ..training.start import begin
from ..training.step import whole_step

_CELLS, _STEPS = 3, 2


def seconds_left(
    task: Task, config: CompareConfig, data: ImageData, folder: Path | None
) -> tuple[float, float]:
    """The time of all trainings that have no result yet; validation and tests come on top.

    Where options are tuned there are trials, runs without tuning, and runs with what is best. Before the
    trials are done nobody knows how many the last will be: a cell for which the shared options are best has
    none.

    Steps of up to three of them are measured, after one that does not count.

    Args:
        task: the task.
        config: the comparison.
        data: its images.
        folder: where it lies; None: none of its runs is done.

    Returns:
        Seconds of what is known to be done, and of what may come on top.
    """
    trials, runs = trials_of(config), runs_of(config)
    chosen = chosen_in(task, config, data, folder) if trials and folder is not None else None
    known = {job.name: job for job in [*trials, *runs, *(runs_of(config, chosen) if chosen else [])]}
    left = [job for job in known.values() if folder is None or not (folder / job.name / RESULT).exists()]
    if not left:
        return 0.0, 0.0
    jobs = config.engine.jobs_for(config.machine, nbytes(data)) or len(left)
    jobs = min(jobs, len(left))
    by_label = {job.arguments["label"]: job.config for job in left}
    shown = list(by_label)[:: max(len(by_label) // _CELLS, 1)][:_CELLS]
    before = torch.get_num_threads()
    torch.set_num_threads(config.engine.threads_for(config.machine, jobs))
    try:
        steps = [_step(task, by_label[label], data) for label in shown]
    finally:
        torch.set_num_threads(before)
    batches = len(data.train_loader(config.optim.batch_size, config.machine.seed))
    a_step = sum(steps) / len(steps) / jobs
    of_left, of_more = (
        sum(job.config.optim.epochs * batches for job in some) * a_step
        for some in (left, runs if trials and chosen is None else [])
    )
    return of_left, of_more


def _step(task: Task, run: TrainConfig, data: ImageData) -> float:
    """Seconds of one training step."""
    pl.seed_everything(run.machine.seed, verbose=False)
    module = TaskModule(begin(task, run, data).network, task, run.optim, 1, run.adversarial)
    batch = next(iter(data.train_loader(run.optim.batch_size, run.machine.seed)))
    step = whole_step(module, batch, run.machine, data)
    step()
    start = time.perf_counter()
    for _ in range(_STEPS):
        step()
    return (time.perf_counter() - start) / _STEPS
