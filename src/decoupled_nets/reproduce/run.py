"""``reproduce``: a table's cells trained on the engine of comparisons, and its hypotheses judged."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from .._files import write_text
from .._options import owners, recipe_options, words_of
from .._progress import duration
from ..compare import CompareConfig, RunsFailedError, compare
from ..compare.jobs import runs_of
from ..compare.variants import spelled
from ..data import DataConfig, ImageData
from ..evaluation.targets import COMPARISON
from ..experiment import EngineConfig, Failure, Job, execute
from ..reports.decision import Scores
from ..reports.format import plural
from ..reports.pictures import Picture
from ..reports.results import Results, Run
from ..tasks import Task, find_task
from .attacks import NAMES, attack_jobs, flagged, left_of
from .curves import areas, reached
from .estimate import seconds_left
from .metrics import METRICS
from .points import points_of
from .reproduction import RESULTS, Reproduction
from .scores import scores_of, untrained_of
from .table import Table
from .trainings import trainings_of
from .verdict import (
    OfCells,
    Verdict,
    beside_diverged,
    contrasts,
    judge,
    judge_convergence,
    paper_difference,
    reference,
)


def options_of(table: Table, scale: str) -> dict[str, Any]:
    """The options of a comparison that a table has at a scale, by their flat names.

    Raises:
        ValueError: the table has no such scale.
    """
    if scale not in table.scales:
        known = ", ".join(table.scales)
        raise ValueError(f"scale = {scale} received for {table.name}; needed: one of {known}")
    own = {**table.options, **table.scales[scale].options}
    return {"feature_epochs": 0, **recipe_options(CompareConfig, own.get("recipe")), **own}


def with_cells(config: CompareConfig, table: Table, cells: list[str]) -> CompareConfig:
    """A comparison of these cells.

    Raises:
        ValueError: what is compared was given, or an option of a cell is out of range.
    """
    for name in ("operators", "variants", "upsamplers"):
        if getattr(config, name) != getattr(CompareConfig(), name):
            raise ValueError(
                f"{name} = {getattr(config, name)!r} received for {table.name}; needed: the default, as the"
                " table has cells with settings; cells=... chooses some of them"
            )
    return dataclasses.replace(config, variants=spelled({cell: table.cells[cell] for cell in cells}))


def reproduce(
    table: Table,
    scale: str,
    config: CompareConfig,
    folder: Path,
    *,
    cells: str = "",
    restart: bool = False,
    quiet: bool = False,
) -> Reproduction:
    """Make a table again: train what is missing of its cells, and judge its hypotheses.

    What `folder` holds is kept: more cells or seeds only add runs, and several calls share them, as in
    :func:`~decoupled_nets.compare.compare`.

    Args:
        table: the paper's.
        scale: one of the table's; says which cells are made where `cells` does not.
        config: the comparison, without operators or variants.
        folder: where results go: ``reproduction.json``, and the comparison in ``comparison/``.
        cells: labels of the table's cells, separated by commas; empty: those of the scale.
        restart: train anew in place of what `folder` holds.
        quiet: neither print what is to be done nor draw progress.

    Returns:
        The table beside ours.

    Raises:
        ValueError: there is no such cell, or `folder` holds something else.
        RunsFailedError: some runs failed.
    """
    chosen = table.chosen(scale, cells)
    config = with_cells(config, table, chosen)
    if table.scales[scale].needs and config.data.data == DataConfig().data:
        raise ValueError(
            f"data = {config.data.data} received for {table.name} at the scale {scale}; needed: data ="
            f" {table.scales[scale].needs}"
        )
    place = folder / COMPARISON
    kind = find_task(config.task)
    data = kind.load(config.data)
    task = kind.of(data)
    if not quiet:
        _announce(seconds_left(task, config, data, None if restart else place), config, len(chosen))
    failed: RunsFailedError | None = None
    try:
        results, _ = compare(config, place, restart=restart, quiet=quiet)
    except RunsFailedError as error:
        failed, results = error, error.results
    if failed is not None and results.tuning is not None and not results.tuning.chosen:
        raise failed  # trials: nothing is chosen yet, and what an earlier call wrote is not made less
    jobs = runs_of(config, None if results.tuning is None else results.tuning.chosen)
    scores, flags, failures = _scores(
        table, config, jobs, results, task, data, place, restart=restart, quiet=quiet
    )
    drawn: list[Picture] = []
    if table.measured == "features":
        seen = points_of(jobs, config, data, place)
        scores.update(seen.scores(table.metrics))
        drawn = seen.pictures(results)
    found = _judged(table, scale, config, chosen, results, scores)
    found.pictures = drawn
    found.trainings, found.flags = trainings_of(jobs, config, results, task, data, place), flags
    if results.tuning is not None:
        found.tuning, found.of_trials = results.tuning, results.metric
        found.untuned = _untuned(table, config, results.tuning.untuned, results, task, place)
    write_text(folder / RESULTS, json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
    if failed is not None or failures:
        raise failed or RunsFailedError(results, [], failures)
    return found


def _untuned(
    table: Table, config: CompareConfig, runs: list[Run], results: Results, task: Task, place: Path
) -> dict[str, list[float]]:
    """By cell the first figure without tuning; empty where it is one of attacks or features."""
    metric = table.metrics[0]
    if metric in _of_images(table):
        return _figures(table, metric, scores_of(runs_of(config), runs, task, place))
    return _figures(table, metric, areas(runs, len(results.data["classes"]))) if metric == "curve" else {}


def _announce(left: tuple[float, float], config: CompareConfig, cells: int) -> None:
    seconds, further = left
    if seconds:
        tuned = f", and {config.tune} tried from {plural(config.tune_seeds, 'seed')}" if config.tune else ""
        text = (
            f"{cells} cells × {config.seeds} seeds{tuned}: about {duration(seconds)} of training, as a few"
            " steps say"
        )
        text += f"; up to {duration(further)} more for runs with what is chosen" if further else ""
        Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def _of_images(table: Table) -> list[str]:
    """The metrics that training alone gives of each test image."""
    return [
        name
        for name in table.metrics
        if METRICS[name].measured == "training" and METRICS[name].kept == "images"
    ]


def _scores(
    table: Table, config: CompareConfig, jobs: list[Job], results: Results, task: Task, data: ImageData,
    place: Path,
    *, restart: bool, quiet: bool,
) -> tuple[dict[str, OfCells], list[str], list[Failure]]:  # fmt: skip
    """By metric what was kept of each image; the attacks that may not be trusted, and those that failed."""
    clean = {**untrained_of(table, config, task, place), **scores_of(jobs, results.runs, task, place)}
    found: dict[str, OfCells] = dict.fromkeys(_of_images(table), clean)
    found.update(
        {name: areas(results.runs, len(results.data["classes"])) for name in table.metrics if name == "curve"}
    )
    if table.measured != "attacks":
        return found, [], []
    if restart:
        shutil.rmtree(place / "attacks", ignore_errors=True)
    attacks = attack_jobs(jobs, config, place, table.surrogate)
    outcome = execute(attacks, place, config.engine, title="attacks", quiet=quiet, data=data)
    labels = {job.name: job.arguments["label"] for job in jobs}
    left = left_of(attacks, place, labels)
    found.update({name: left.get(name, {}) for name in table.metrics if name in NAMES})
    return found, flagged(attacks, place), outcome.failed


def _judged(
    table: Table,
    scale: str,
    config: CompareConfig,
    cells: list[str],
    results: Results,
    scores: dict[str, OfCells],
) -> Reproduction:
    ours = {name: _figures(table, name, of_cells) for name, of_cells in scores.items()}
    ours.update({name: one for name, one in reached(table, results).items() if name in table.metrics})
    assert config.margin is not None
    margin = config.margin / find_task(config.task).metric.scale
    verdicts = judged(table, results, scores, margin)
    return Reproduction(
        table, scale, cells, ours, verdicts, data=results.data, seeds=results.seeds,
        environment=results.environment, margin=config.margin, diverged=_diverged(results),
        facts=_facts(table, scale, config, results), command=_command(table, scale, config, cells),
        configuration=config.flat(),
    )  # fmt: skip


def _figures(table: Table, metric: str, of_cells: OfCells) -> dict[str, list[float]]:
    """By row the figure of each seed."""
    return {
        row: [METRICS[metric].figure(float(own.mean())) for own in _told(table, row, by_seed)]
        for row, by_seed in of_cells.items()
    }


def _told(table: Table, row: str, by_seed: Mapping[int, Scores]) -> list[Scores]:
    """The scores of each seed; what needs no training has one figure, with whatever seed."""
    scores = list(by_seed.values())
    return scores[:1] if row in table.untrained else scores


def _diverged(results: Results) -> dict[str, int]:
    counts = {cell: sum(run.diverged for run in results.of(cell)) for cell in results.operators}
    return {cell: count for cell, count in counts.items() if count}


def _facts(table: Table, scale: str, config: CompareConfig, results: Results) -> dict[str, str]:
    data = results.data
    height, width = data["image_size"]
    sizes = (
        f"{data['train_size']} training, {data['val_size']} validation and {data['test_size']} test images"
    )
    seeds = f"{config.seeds} seed{'s' if config.seeds > 1 else ''}"
    classes = f", {len(data['classes'])} classes" if data["classes"] else ""
    tuned = {"Tuning": f"{config.tune}, from {plural(config.tune_seeds, 'seed')}"} if config.tune else {}
    return {
        "Paper": table.source,
        "Scale": scale,
        "Data": f"{data['name']}: {sizes}, {height} × {width} pixels{classes}",
        "Network": f"{config.network.model}, width {config.network.width:g}",
        "Training": f"{config.optim.epochs} epochs, {seeds}",
        **tuned,
        "Environment": ", ".join(f"{key} {value}" for key, value in results.environment.items() if value),
    }


def _command(table: Table, scale: str, config: CompareConfig, cells: list[str]) -> str:
    """The command line: what differs from the scale's own options."""
    usual = with_cells(CompareConfig.of(**options_of(table, scale)), table, cells).flat()
    if usual["tune"]:
        usual["tune"] = None  # what the scale tries by itself is said, too: it decides what is judged
    kinds = owners(CompareConfig)
    own = {name: value for name, value in config.flat().items() if kinds[name] is not EngineConfig}
    chosen = [] if cells == table.chosen(scale) else ["--cells", ",".join(cells)]
    return shlex.join(
        ["decoupled", "reproduce", table.name, "--scale", scale, *chosen, *words_of(own, usual)]
    )


def judged(table: Table, results: Results, scores: Mapping[str, OfCells], margin: float) -> list[Verdict]:
    """The verdicts on all hypotheses of a table; on convergence, those with the options that cells share."""
    found = contrasts(table.hypotheses, scores)
    runs = results.runs if results.tuning is None else results.tuning.untuned
    return [
        judge_convergence(one, runs, len(results.data["classes"]))
        if one.direction == "does not converge"
        else beside_diverged(
            judge(one, paper_difference(table, one), found.get(place), margin / reference(one, scores)),
            results.runs,
        )
        for place, one in enumerate(table.hypotheses)
    ]
