"""One training run, from a configuration to a folder of results."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytorch_lightning as pl
from rich.console import Console

from .._files import write_text
from .._progress import Progress
from ..data import ImageData
from ..networks import fetch
from ..tasks import find_task
from .config import TrainConfig
from .folder import LAST, STARTED, claimed, is_worker
from .module import TaskModule
from .network import check_network, describe
from .start import begin
from .trainer import fit


def announce(data: ImageData) -> None:
    """Print what was found, before anything is done with it."""
    Console().print(str(data.found), highlight=False, markup=False, soft_wrap=True)


def train(
    config: TrainConfig, folder: Path, *, resume: bool = False, restart: bool = False, quiet: bool = False
) -> TaskModule:
    """Train one network; it leaves its options, checkpoints, history, and how it started and ended.

    Args:
        config: the whole configuration.
        folder: where results go.
        resume: go on with the run that `folder` holds.
        restart: train anew in place of the run that `folder` holds.
        quiet: neither print the data found nor draw progress.

    Returns:
        The trained module; its ``history`` is the table of epochs, its ``network`` the network after the last
        epoch, its ``tested`` what the test images say of ``best.ckpt``.

    Raises:
        FileExistsError: `folder` holds a run, and neither `resume` nor `restart` is on.
        ValueError: the configuration or the data is not as it must be, or not that of the run to resume.
        KeyboardInterrupt: a signal came; the state was saved, `resume` goes on.
    """
    if config.ignored:
        warnings.warn("; ".join(config.ignored), stacklevel=2)
    pl.seed_everything(config.machine.seed, workers=True, verbose=False)
    quiet = quiet or is_worker()
    kind = find_task(config.task)
    data = kind.load(config.data)
    if not quiet:
        announce(data)
    task = kind.of(data)
    under_way = (folder / LAST).is_file() and not restart
    if config.data.download and not under_way:
        fetch(config.network)
    begun = begin(task, config, data, folder if under_way else None)
    network = begun.network
    if begun.text and not quiet:
        Console().print(begun.text, highlight=False, markup=False, soft_wrap=True)
    check_network(network, data, task, config.network.model)
    steps = config.optim.epochs * len(data.train_loader(config.optim.batch_size, config.machine.seed))
    module = TaskModule(network, task, config.optim, steps, config.adversarial)
    bar = Progress(steps, config.operator, quiet=quiet)
    with claimed(folder, config, data, resume=resume, restart=restart), bar as progress:
        if begun.text and not is_worker():
            write_text(folder / STARTED, json.dumps(begun.start, indent=1, ensure_ascii=False))
        return fit(
            module, data, config.machine, folder, progress, f"{config.network.model} {config.operator}",
            extra=describe(config, data, **begun.noted),
        )  # fmt: skip
