"""``compare``: train what is missing, measure, keep everything in one folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
from rich.markup import escape

from .._environment import environment
from .._files import write_text
from .._progress import Progress
from ..data import ImageData
from ..networks import fetch, gives_features
from ..reports.report import write_report
from ..reports.results import (
    Features,
    Results,
    Run,
    cost_from_dict,
    features_from_dict,
    run_from_dict,
    to_plain,
)
from ..reports.sections import figure_names
from ..tasks import Task, find_task, further_metrics
from ..training import TaskModule, build_network, fit
from ..training.folder import CONFIG, DATA, claimed, origin_differences, origin_of, saved
from ..training.network import check_network, describe
from ..training.run import announce
from ..training.start import begin
from ..training.step import root_device
from .config import CompareConfig
from .measure import costs_of, features_of, is_share, run_of

T = TypeVar("T")
EXAMPLES = "examples.json"
# Of `runs` only what is a comparison's own: other commands' results lie in a folder of that name, too.
_OWN_RUNS = ("runs/*-seed*", "runs/*-features", "runs/costs-*.json")
LEFT_BEHIND = (
    *_OWN_RUNS, "results.json", "report.html", *(f"{name}.png" for name in figure_names()), DATA, CONFIG,
)  # fmt: skip


def compare(
    config: CompareConfig, folder: Path, *, restart: bool = False, quiet: bool = False
) -> tuple[Results, list[Path]]:
    """Train the same network with each operator and each seed, and report how they differ.

    The runs of one seed see the same images in the same order and start from the same weights. What `folder`
    already holds of this comparison is kept, so an interrupted one goes on where it was.

    Args:
        config: the whole configuration.
        folder: where results go: ``results.json``, ``report.html``, figures, and ``runs/`` with checkpoints.
        restart: train anew in place of the comparison that `folder` holds.
        quiet: neither print the data found nor draw progress.

    Returns:
        The results, and the files written.

    Raises:
        ValueError: `folder` holds a comparison with another configuration, of other data or by another
            version, or the data is not as it must be.
        KeyboardInterrupt: a signal came; what was done is saved.
    """
    kind = find_task(config.task)
    data = kind.load(config.data)
    if not quiet:
        announce(data)
    task = kind(data.classes)
    if config.data.download:
        fetch(config.network)
    for operator in config.names:
        network = build_network(task, config.network, operator, data)
        check_network(network, data, task, config.network.model)
    # Runs are kept one by one: more operators or seeds only add some.
    claim = claimed(
        folder, config, data, resume=True, restart=restart, may_grow=("operators", "seeds"),
        left_behind=LEFT_BEHIND,
    )  # fmt: skip
    results = _empty(task, config, data)
    progress = Progress(0, "compare", quiet=quiet)
    job = _Job(task, config, data, folder, progress)
    epochs = config.seeds * config.optim.epochs + job.feature_epochs
    progress.total = job.steps_per_epoch * epochs * len(config.names)
    with claim, progress:
        if config.feature_epochs and not job.feature_epochs and "features" in task.sections:
            progress.say(f"2-D features are left out: {config.network.model} is not built with them.")
        _fill(results, job)
        progress.describe("writing the report")
        paths = write_report(results, folder)
    return results, [folder / "results.json", *paths]


def _empty(task: Task, config: CompareConfig, data: ImageData) -> Results:
    """Results with all that is known before anything is trained."""
    return Results(
        operators=config.names,
        seeds=config.all_seeds,
        config={"command": config.command, **config.flat()},
        data={
            "name": data.name,
            "classes": list(data.classes),
            "train_size": data.train_size,
            "val_size": data.val_size,
            "test_size": data.test_size,
            "image_size": list(data.image_size),
            "in_chans": data.in_chans,
            "digest": data.digest,
            "found": data.found.to_dict(),
        },
        environment=environment(),
        attack_radius=config.attack_radius,
        task=task.name,
        metric=task.metric,
        further={one.metric.name: one.metric for one in further_metrics(task.name)},
        interval="wilson" if is_share(task) else "bootstrap",
        sections=[name for name in task.sections if name != "features" or gives_features(config.network)],
    )


@dataclasses.dataclass
class _Job:
    task: Task
    config: CompareConfig
    data: ImageData
    folder: Path
    progress: Progress

    @property
    def origin(self) -> dict[str, Any]:
        return origin_of(self.data, self.config.network)

    @property
    def feature_epochs(self) -> int:
        shown = "features" in self.task.sections and gives_features(self.config.network)
        return self.config.feature_epochs if shown else 0

    @property
    def steps_per_epoch(self) -> int:
        return len(self.data.train_loader(self.config.optim.batch_size, self.config.machine.seed))


def _fill(results: Results, job: _Job) -> None:
    """Do, or read, one part after the other; after each the results on disk are whole."""
    config, folder = job.config, job.folder

    def save() -> None:
        write_text(folder / "results.json", results.to_json())

    for seed in config.all_seeds:
        for operator in config.names:
            results.runs.append(_run(job, operator, seed))
            save()
    for operator in config.names:
        given, made = _examples(job, operator)
        if made:
            results.examples = {"given": given, "made": {**results.examples.get("made", {}), operator: made}}
    path = folder / "runs" / f"costs-{'-'.join(config.names)}.json"
    job.progress.describe("measuring the cost of a step")
    results.costs = _kept(
        job,
        path,
        lambda: costs_of(job.task, config, job.data),
        lambda raw: [cost_from_dict(c) for c in raw],
    )
    save()
    if job.feature_epochs:
        for operator in config.names:
            results.features.append(_features(job, operator))
            save()


def _kept(job: _Job, path: Path, make: Callable[[], T], read: Callable[[Any], T]) -> T:
    """What `path` holds, or what `make` gives, which `path` holds from then on.

    Raises:
        ValueError: `path` holds a result of other data or of another version.
    """
    if path.exists():
        kept = saved(path)
        if changed := origin_differences(job.origin, kept["origin"]):
            raise ValueError(
                f"{path} belongs to something else: {'; '.join(changed)}; needed: the same;"
                " --restart trains anew"
            )
        return read(kept["result"])
    made = make()
    write_text(path, json.dumps({"origin": job.origin, "result": to_plain(made)}))
    return made


def _run(job: _Job, operator: str, seed: int) -> Run:
    config = job.config
    label = f"{operator}, seed {seed}" if config.seeds > 1 else operator
    folder = job.folder / "runs" / f"{operator}-seed{seed}"

    def make() -> Run:
        module, start = _train(job, operator, seed, folder, label)
        if seed == config.machine.seed:
            _keep_examples(job, module, folder)
        return dataclasses.replace(run_of(module, config, job.data, operator, seed), start=start)

    return _unless_done(job, folder / "result.json", config.optim.epochs, make, run_from_dict)


def _keep_examples(job: _Job, module: TaskModule, folder: Path) -> None:
    """Write the pictures of what a network does, if its task has some."""
    network = module.network.float().to(root_device(job.config.machine))
    made = job.task.examples(network, job.data)
    if made is not None:
        write_text(folder / EXAMPLES, json.dumps(made._asdict()))


def _examples(job: _Job, operator: str) -> tuple[dict[str, Any], list[str]]:
    """What :func:`_keep_examples` wrote: pictures that all networks share, and one's own; empty without."""
    path = job.folder / "runs" / f"{operator}-seed{job.config.machine.seed}" / EXAMPLES
    kept = saved(path) if path.is_file() else {"given": {}, "made": []}
    return kept["given"], kept["made"]


def _features(job: _Job, operator: str) -> Features:
    config = job.config
    folder = job.folder / "runs" / f"{operator}-features"

    def make() -> Features:
        module, _ = _train(
            job, operator, config.machine.seed, folder, f"{operator}, 2-D features",
            epochs=config.feature_epochs, features=2,
        )  # fmt: skip
        return features_of(module, config, job.data, operator)

    return _unless_done(job, folder / "result.json", config.feature_epochs, make, features_from_dict)


def _unless_done(job: _Job, path: Path, epochs: int, make: Callable[[], T], read: Callable[[Any], T]) -> T:
    if path.exists():
        job.progress.skip(epochs * job.steps_per_epoch)
    return _kept(job, path, make, read)


def _train(
    job: _Job,
    operator: str,
    seed: int,
    folder: Path,
    label: str,
    *,
    epochs: int | None = None,
    **options: Any,
) -> tuple[TaskModule, dict[str, Any]]:
    """The trained network, and how it started."""
    config = job.config.run(operator, seed, **({} if epochs is None else {"epochs": epochs}))
    pl.seed_everything(seed, workers=True, verbose=False)
    begun = begin(job.task, config, job.data, folder, **options)
    if begun.text and seed == job.config.machine.seed:
        job.progress.say(escape(begun.text))
    module = TaskModule(begun.network, job.task, config.optim, config.optim.epochs * job.steps_per_epoch)
    folder.mkdir(parents=True, exist_ok=True)
    extra = describe(config, job.data, options, **begun.noted)
    fit(module, job.data, config.machine, folder, job.progress, label, keep_best=False, extra=extra)
    return module, begun.start
