"""``decoupled train``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .._options import owners
from ..compare.measure import score_of
from ..reports import format as fmt
from ..training import TaskModule, TrainConfig, train
from ..training.folder import STARTED, saved
from ..training.watch import ROBUST, told
from .options import Options, default_folder, recipe_named


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
        _a_run(Path(given.out), saved(Path(given.out) / "config.yaml"))
        _same_recipe(argv, saved(Path(given.out) / "config.yaml"), options)
        options.parser.default_config_files = [str(Path(given.out) / "config.yaml")]
        given = options.parse(argv)
    config = options.build(given, argv)
    folder = (
        Path(given.out) if given.out else default_folder(f"{config.network.model}-{config.operator}", config)
    )
    if given.resume and not (folder / "config.yaml").exists():
        raise ValueError(
            f"{folder} holds no run to resume; needed: the folder of a run, or no --resume to start one"
        )
    try:
        module = train(config, folder, resume=given.resume, restart=given.restart)
    except KeyboardInterrupt:
        where = shlex.quote(str(folder))
        raise KeyboardInterrupt(f"Go on with: decoupled train --resume --out {where}") from None
    if module.global_rank != 0:
        return
    console = Console()
    console.print(_table(module, config))
    console.print(_verdict(module), highlight=False, soft_wrap=True)
    console.print(
        f"Written to {folder}: best.ckpt, last.ckpt, history.csv, test.json, outcomes.safetensors, data.json,"
        f" config.yaml, {'start.json, ' if (folder / STARTED).exists() else ''}tensorboard/",
        soft_wrap=True,
    )


def _a_run(folder: Path, then: dict[str, Any]) -> None:
    """Refuse the folder of something else."""
    others = [name for name in then if name not in owners(TrainConfig)]
    if "operators" in others:
        raise ValueError(
            f"--resume received for {folder}, which holds a comparison; needed: the folder of one run, or the"
            " comparison's own command, which goes on where it stopped"
        )
    if others:
        raise ValueError(
            f"--resume received for {folder}, whose options are no training's ({', '.join(others)}); needed:"
            " the folder of a run"
        )


def _same_recipe(argv: Sequence[str], then: dict[str, Any], options: Options[TrainConfig]) -> None:
    """Refuse to go on with a run by a recipe that it was not begun with: the run has its own options."""
    name = recipe_named(options.spelled_out(argv))
    if name is not None and name != then.get("recipe"):
        raise ValueError(
            f"recipe = {name!r} received for a run begun with {then.get('recipe') or 'none'}; needed: no"
            " recipe, as a run goes on with its own options"
        )


def _table(module: TaskModule, config: TrainConfig) -> Table:
    """The epochs."""
    metric = module.task.metric
    table = Table(title=f"{config.network.model} {config.operator} on {config.data.data}")
    columns = ["epoch", "training loss", "validation loss", f"validation {metric.title}", "seconds"]
    attacks = {} if config.adversarial.way is None else {"FGSM": "val_fgsm", "PGD-10": "val_pgd"}
    columns[-1:-1] = attacks
    for heading in columns:
        table.add_column(heading, justify="right")
    for e in module.history:
        value = metric.text(e[f"val_{metric.name}"])
        attacked = [metric.text(e[name]) for name in attacks.values()]
        row = (f"{e['train_loss']:.4f}", f"{e['val_loss']:.4f}", value, *attacked, f"{e['seconds']:.1f}")
        table.add_row(str(int(e["epoch"])), *row)
    return table


def _verdict(module: TaskModule) -> str:
    """What the test images say, and of which epoch's network."""
    tested, metric = module.tested, module.task.metric
    assert tested is not None
    score = score_of(module)
    unit = f" {metric.unit}" if metric.unit else ""
    average = ", the moving average of the weights" if module.config.ema else ""
    judge = f"validation {metric.title}"
    if adversarial := str(module.adversarial):
        judge = (
            f"{ROBUST.title} of {int(module.history[-1]['val_attacked'])} validation images, as training was"
            f" adversarial ({adversarial})"
        )
    caught = f"{text[0].upper()}{text[1:]}.\n" if (text := told(module.history)) else ""
    return (
        f"{caught}best.ckpt{average}, chosen by {judge}, is of epoch {int(tested['epoch'])}: test"
        f" {metric.title} {fmt.value(score.value, metric)}{unit} of {score.images:,} images"
        f" (95 % interval {fmt.interval(score.interval, metric)})."
    )
