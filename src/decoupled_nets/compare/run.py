"""``compare``: have what is missing trained and measured, and keep everything in one folder."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from .. import _claims
from .._environment import environment
from .._files import write_text
from ..data import ImageData
from ..experiment import (
    EngineConfig,
    Failure,
    Job,
    Outcome,
    check_result,
    check_threads,
    execute,
    result_of,
)
from ..experiment.job import RESULT
from ..networks import fetch, gives_features
from ..reports.decision import Difference
from ..reports.report import write_report
from ..reports.results import (
    Results,
    Run,
    Trial,
    Tuning,
    cost_from_dict,
    features_from_dict,
    run_from_dict,
    score_from_dict,
    trial_from_dict,
)
from ..reports.sections import figure_names
from ..tasks import Task, find_task, further_metrics, has_baselines
from ..training import TaskModule, build_network
from ..training.folder import CONFIG, DATA, LAST, claimed, origin_of, saved
from ..training.network import check_network
from ..training.run import announce
from ..training.start import begin
from ..training.trainer import check_machine
from .config import CompareConfig
from .decide import decide
from .jobs import EXAMPLES, baselines_job, costs_job, features_jobs, runs_of, trials_of
from .tuning import Setting, best, settings

#: Options that may differ from those of the comparison that a folder holds: no single run has one of them.
GROWS = ("operators", "variants", "upsamplers", "seeds", "margin", "tune", "tune_seeds")
# Of `runs` only what is a comparison's own: other commands' results lie in a folder of that name, too.
_OWN_RUNS = ("runs/*-seed*", "runs/*-features", "runs/costs-*", "runs/baselines", "tune/*-seed*", "slurm")
LEFT_BEHIND = (
    *_OWN_RUNS, "results.json", "report.html", *(f"{name}.png" for name in figure_names()), DATA, CONFIG,
)  # fmt: skip


class RunsFailedError(RuntimeError):
    """Some jobs of a comparison failed; the others are done and reported.

    Attributes:
        results: What there is.
        paths: The files written.
        failures: What failed, with logs.
    """

    def __init__(self, results: Results, paths: list[Path], failures: list[Failure]) -> None:
        super().__init__(f"{len(failures)} failed: {', '.join(one.job.title for one in failures)}")
        self.results, self.paths, self.failures = results, paths, failures


def compare(
    config: CompareConfig, folder: Path, *, restart: bool = False, quiet: bool = False
) -> tuple[Results, list[Path]]:
    """Train the same network with each operator and each seed, and report how they differ.

    The runs of one seed see the same images in the same order and start from the same weights. What `folder`
    already holds of this comparison is kept, so an interrupted one goes on where it was. Several calls at the
    same time, on any machines that share the folder, share the work; each ends with all results.

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
        RunsFailedError: some runs failed; the others are reported, and the next call tries again.
        KeyboardInterrupt: a signal came; what was done is saved.
    """
    kind = find_task(config.task)
    data = kind.load(config.data)
    if not quiet:
        announce(data)
    task = kind.of(data)
    if config.data.download:
        fetch(config.network)
    told = _try_out(task, config, data, with_weights=restart or not _all_begun(task, config, data, folder))
    if not quiet:
        for text in filter(None, told):
            Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)
    # Runs are kept one by one: more operators or seeds only add some.
    claim = claimed(
        folder, config, data, resume=True, restart=restart, may_grow=GROWS,
        left_behind=LEFT_BEHIND, shared=True,
    )  # fmt: skip
    with claim:
        comparison = _Comparison(task, config, data, folder, quiet)
        failures = comparison.fill()
        results = comparison.results()
        paths = [folder / "results.json", *write_report(results, folder)]
    if failures:
        raise RunsFailedError(results, paths, failures)
    return results, paths


def _try_out(task: Task, config: CompareConfig, data: ImageData, with_weights: bool) -> list[str]:
    """Make each network once, and what trains it: what fails for all runs fails before the first.

    Args:
        task: the task.
        config: the comparison.
        data: its images.
        with_weights: load what the networks start from, too; once every run is begun, nothing needs it.

    Returns:
        What is to be said of how they start.
    """
    told = []
    for label in config.names:
        run = config.run(label, config.machine.seed)
        if with_weights:
            begun = begin(task, config.run(label, config.machine.seed, start="converted"), data)
            network = begun.network
            told.append(begun.text)
        else:
            network = build_network(task, run.network, run.operator, data)
        check_network(network, data, task, run.network.model)
        TaskModule(network, task, run.optim, 1).configure_optimizers()
    if config.feature_epochs and "features" in task.sections:
        models = [run.network for run in (config.run(n, config.machine.seed) for n in config.names)]
        told += [
            f"2-D features are left out: {model} is not built with them."
            for model in dict.fromkeys(one.model for one in models if not gives_features(one))
        ]
    if ignored := [*config.optim.ignored, *config.adversarial.ignored]:
        told.append(f"{'; '.join(ignored)}.")
    if config.engine.engine == "local":  # elsewhere there may be other devices
        check_machine(config.machine)
    return told


def _all_begun(task: Task, config: CompareConfig, data: ImageData, folder: Path) -> bool:
    """Whether each job has left a result or a checkpoint: then none starts from the weights any more."""
    trials = trials_of(config)
    tried = _tried(trials, folder, origin_of(data, config.network))
    if len(tried) < len(trials):
        return False
    chosen = _chosen(task, config, tried)
    jobs = [*runs_of(config), *runs_of(config, chosen), *features_jobs(config, chosen)]
    return all(any((folder / job.name / name).exists() for name in (RESULT, LAST)) for job in jobs)


def _tried(trials: list[Job], folder: Path, origin: dict[str, Any]) -> list[Trial]:
    """What the trials that are done have found."""
    return [trial_from_dict(raw) for raw in _found(trials, folder, origin)]


def _chosen(task: Task, config: CompareConfig, tried: list[Trial]) -> dict[str, Setting]:
    """Of each operator, the setting that was best in the trials."""
    given = settings(config.tune)
    return {o: best(tried, o, given, task.metric) for o in config.names} if given else {}


def chosen_in(task: Task, config: CompareConfig, data: ImageData, folder: Path) -> dict[str, Setting] | None:
    """What the trials in a comparison's folder have chosen; None before all of them are done."""
    trials = trials_of(config)
    tried = _tried(trials, folder, origin_of(data, config.network))
    return _chosen(task, config, tried) if len(tried) == len(trials) else None


def _found(jobs: list[Job], folder: Path, origin: dict[str, Any]) -> list[Any]:
    """The results of the jobs that are done.

    Raises:
        ValueError: one is of other data or another version.
    """
    found = []
    for job in jobs:
        if (folder / job.name / RESULT).exists():
            check_result(job, folder, origin)
            found.append(result_of(job, folder))
    return found


@dataclasses.dataclass
class _Comparison:
    """A comparison in its folder."""

    task: Task
    config: CompareConfig
    data: ImageData
    folder: Path
    quiet: bool

    def __post_init__(self) -> None:
        self.origin = origin_of(self.data, self.config.network)
        self.trials = trials_of(self.config)
        self.untuned = runs_of(self.config) if self.trials else []
        self._choose()
        trained = [*self.trials, *self.untuned, *self.runs, *self.features]
        for job in [*trained, self.costs, *self.untrained]:
            check_result(job, self.folder, self.origin)
        check_threads(trained, self.folder, _threads(self.config))

    def _choose(self) -> None:
        """Take, of each operator, the setting that was best; without all trials nothing is chosen or run."""
        self.tried = _tried(self.trials, self.folder, self.origin)
        whole = len(self.tried) == len(self.trials)
        self.chosen = _chosen(self.task, self.config, self.tried) if whole else {}
        self.runs = runs_of(self.config, self.chosen) if whole else []
        self.features = features_jobs(self.config, self.chosen) if whole else []
        self.costs = costs_job(self.config, self.chosen)
        self.untrained = [baselines_job(self.config)] if has_baselines(self.task) else []

    def fill(self) -> list[Failure]:
        """Have everything done that is missing; if a trial fails, no run is begun."""
        if self.trials:
            tuned = self._execute(self.trials, title="tuning")
            self._choose()
            if tuned.failed:
                return tuned.failed
        own = {job.name for job in self.runs}
        jobs = [
            *self.runs,
            *(job for job in self.untuned if job.name not in own),
            *self.features,
            *self.untrained,
        ]
        outcome = self._execute(jobs, at_end_of=self._save)
        self._wait_for(jobs)
        write_report(self.results(), self.folder)  # before times are measured, which may take long
        last = self._execute([self.costs], engine=_alone(self.config.engine), title="costs")
        return [*outcome.failed, *last.failed]

    def _execute(self, jobs: list[Job], *, engine: EngineConfig | None = None, **options: Any) -> Outcome:
        engine = engine or self.config.engine
        return execute(jobs, self.folder, engine, quiet=self.quiet, data=self.data, **options)

    def _wait_for(self, jobs: list[Job]) -> None:
        """Let others end what they try once more: times are measured where nothing else runs."""
        while any(_claims.holder_of(self.folder / job.name) for job in jobs):
            time.sleep(1.0)

    def _save(self, job: Job | None = None) -> None:
        """After each run the results on disk are whole."""
        write_text(self.folder / "results.json", self.measured().to_json())

    def results(self) -> Results:
        """What there is of all jobs, and what it says of differences."""
        results = self.measured()
        results.differences = self._decided(results.runs, self.runs)
        if results.tuning is not None:
            results.tuning.differences = self._decided(results.tuning.untuned, self.untuned)
        write_text(self.folder / "results.json", results.to_json())
        return results

    def _decided(self, runs: list[Run], jobs: list[Job]) -> dict[str, Difference]:
        folders = {(job.arguments["label"], job.config.machine.seed): self.folder / job.name for job in jobs}
        return decide(self.task, runs, self.config.names[0], folders)

    def measured(self) -> Results:
        """What there is of all jobs."""
        results = _empty(self.task, self.config, self.data)
        results.runs = [run_from_dict(raw) for raw in self._found(self.runs)]
        results.features = [features_from_dict(raw) for raw in self._found(self.features)]
        for raw in self._found(self.untrained):
            results.baselines = {name: score_from_dict(score) for name, score in raw.items()}
        results.costs = [cost_from_dict(raw) for raws in self._found([self.costs]) for raw in raws]
        if self.trials:
            untuned = [run_from_dict(raw) for raw in self._found(self.untuned)]
            tried, seeds = settings(self.config.tune), self.config.trial_seeds
            results.tuning = Tuning(tried, seeds, self.tried, self.chosen, untuned)
        for job in self.runs:
            path = self.folder / job.name / EXAMPLES
            if job.config.machine.seed == self.config.machine.seed and path.is_file():
                kept = saved(path)
                made = {**results.examples.get("made", {}), job.arguments["label"]: kept["made"]}
                results.examples = {"given": kept["given"], "made": made}
        return results

    def _found(self, jobs: list[Job]) -> list[Any]:
        return _found(jobs, self.folder, self.origin)


def _alone(engine: EngineConfig) -> EngineConfig:
    """The engine for what is measured alone: here with all threads, elsewhere one worker."""
    if engine.engine == "local":
        return EngineConfig(threads=torch.get_num_threads())
    return dataclasses.replace(engine, jobs=1)


def _threads(config: CompareConfig) -> int:
    engine = config.engine
    return engine.threads_for(config.machine, max(engine.jobs_for(config.machine), 1))


def _features(config: CompareConfig) -> bool:
    return any(gives_features(config.run(name, config.machine.seed).network) for name in config.names)


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
        environment={**environment(), "threads of a run": _threads(config)},
        threat=config.threat,
        task=task.name,
        metric=task.metric,
        further={one.metric.name: one.metric for one in further_metrics(task.name)},
        interval="wilson" if task.share else "bootstrap",
        margin=(config.margin or task.margin) / task.metric.scale,
        built_with={one.label: one.options["operator"] for one in config.compared},
        sections=[name for name in task.sections if name != "features" or _features(config)],
    )
