"""``decoupled train``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..reports import format as fmt
from ..reports.statistics import wilson
from ..training import ClassificationTask, TrainConfig, train
from ..training.folder import saved
from .options import Options, default_folder


def main(argv: Sequence[str]) -> None:
    """Train one network, or go on with one."""
    options = Options("train", "Train one network.", TrainConfig)
    options.add_flag("resume", "Go on with the run in --out; options that are not given are that run's.")
    options.add_flag("restart", "Train anew in place of the run that --out holds.")
    given = options.parse(argv)
    if given.resume and given.restart:
        raise ValueError("--resume and --restart received; needed: one of them")
    if given.resume and given.out and (Path(given.out) / "config.yaml").exists():
        saved(Path(given.out) / "config.yaml")  # the parser does not say which file is damaged
        options.parser.default_config_files = [str(Path(given.out) / "config.yaml")]
        given = options.parse(argv)
    config = options.build(given, argv)
    folder = Path(given.out) if given.out else default_folder(f"{config.model}-{config.operator}", config)
    if given.resume and not (folder / "config.yaml").exists():
        raise ValueError(
            f"{folder} holds no run to resume; needed: the folder of a run, or no --resume to start one"
        )
    try:
        task = train(config, folder, resume=given.resume, restart=given.restart)
    except KeyboardInterrupt:
        where = shlex.quote(str(folder))
        raise KeyboardInterrupt(f"Go on with: decoupled train --resume --out {where}") from None
    if task.global_rank != 0:
        return
    console = Console()
    table = Table(title=f"{config.model} {config.operator} on {config.data}")
    for heading in ("epoch", "training loss", "validation loss", "validation accuracy", "seconds"):
        table.add_column(heading, justify="right")
    for e in task.history:
        accuracy = e["val_correct"] / e["val_total"]
        row = (f"{e['train_loss']:.4f}", f"{e['val_loss']:.4f}", f"{accuracy:.2%}", f"{e['seconds']:.1f}")
        table.add_row(str(int(e["epoch"])), *row)
    console.print(table)
    console.print(_verdict(task), highlight=False, soft_wrap=True)
    console.print(
        f"Written to {folder}: best.ckpt, last.ckpt, history.csv, test.json, data.json, config.yaml,"
        " tensorboard/",
        soft_wrap=True,
    )


def _verdict(task: ClassificationTask) -> str:
    """What the test images say, and of which epoch's network."""
    tested = task.tested
    assert tested is not None
    correct, total = int(tested["correct"]), int(tested["total"])
    interval = wilson(correct, total)
    assert interval is not None
    return (
        f"best.ckpt, chosen by validation accuracy, is of epoch {int(tested['epoch'])}: test accuracy"
        f" {fmt.percent(correct / total)} % of {total:,} images"
        f" (95 % interval {fmt.percent_interval(interval)})."
    )
