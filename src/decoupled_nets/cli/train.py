"""``decoupled train``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..training import TrainConfig, train
from .options import Options, default_folder


def main(argv: Sequence[str]) -> None:
    """Train one network, or go on with one."""
    options = Options("train", "Train one network.", TrainConfig)
    options.add_flag("resume", "Go on with the run in --out; options that are not given are that run's.")
    given = options.parse(argv)
    if given.resume and given.out and (Path(given.out) / "config.yaml").exists():
        options.parser.default_config_files = [str(Path(given.out) / "config.yaml")]
        given = options.parse(argv)
    config = options.build(given, argv)
    folder = Path(given.out) if given.out else default_folder(f"{config.model}-{config.operator}", config)
    if given.resume and not (folder / "config.yaml").exists():
        raise ValueError(f"{folder} holds no run to resume; leave out --resume to start one")
    try:
        task = train(config, folder, resume=given.resume)
    except KeyboardInterrupt:
        where = shlex.quote(str(folder))
        raise KeyboardInterrupt(f"Go on with: decoupled train --resume --out {where}") from None
    if task.global_rank != 0:
        return
    console = Console()
    table = Table(title=f"{config.model} {config.operator} on {config.data}")
    for heading in ("epoch", "training loss", "test loss", "test accuracy", "seconds"):
        table.add_column(heading, justify="right")
    for e in task.history:
        accuracy = e["test_correct"] / e["test_total"]
        row = (f"{e['train_loss']:.4f}", f"{e['test_loss']:.4f}", f"{accuracy:.2%}", f"{e['seconds']:.1f}")
        table.add_row(str(int(e["epoch"])), *row)
    console.print(table)
    console.print(
        f"Written to {folder}: config.yaml, history.csv, last.ckpt, best.ckpt, tensorboard/", soft_wrap=True
    )
