"""One job of an experiment: what it is, doing it, and what its folder says of it."""

from __future__ import annotations

import json
import pkgutil
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from .. import _claims
from .._claims import ClaimLostError
from .._files import remove_leftovers, write_text
from ..data import ImageData
from ..tasks import Task, find_task
from ..training import MachineConfig, TaskModule, TrainConfig, fit
from ..training.folder import DATA, LAST, origin_differences, origin_of, saved
from ..training.network import describe, own_checkpoint
from ..training.start import begin
from .devices import on_processor
from .status import Reporter, read_status

RESULT, FAILED, LOG = "result.json", "failed.json", "log.txt"
MOST_DEATHS = 3  # workers that die in a row, on one job, without a checkpoint in between
State = Literal["done", "failed", "held"]


@dataclass(frozen=True)
class Job:
    """Something to do in a folder of its own; plain values, so that any process on any machine can do it.

    Attributes:
        name: Its folder, relative to the experiment's: ``runs/conv-seed0``.
        does: The function that does it, ``module:function``. It gets a :class:`Work` and `arguments`, and
            gives plain values, as JSON has them, for
            ``result.json``.
        config: The training run.
        label: Its name for people.
        options: What the network is built with beside its configuration.
        arguments: What `does` gets beside.
    """

    name: str
    does: str
    config: TrainConfig
    label: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.label or self.name

    @property
    def function(self) -> Callable[..., Any]:
        """The function that does it."""
        return pkgutil.resolve_name(self.does)


@dataclass
class Work:
    """What the function of a job works with.

    Attributes:
        job: The job.
        folder: Its folder.
        reporter: Counts steps, and makes sure that the folder is still ours.
        start: How the network of :meth:`train` started, as plain values.
    """

    job: Job
    folder: Path
    reporter: Reporter
    start: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> TrainConfig:
        """The training run."""
        return self.job.config

    @cached_property
    def data(self) -> ImageData:
        """The images; what was loaded last is kept."""
        return loaded(self.config)

    @cached_property
    def task(self) -> Task:
        """The task, for the classes of these images."""
        return find_task(self.config.task).of(self.data)

    def train(self, *, test: bool = True) -> TaskModule:
        """The trained network: from the start, or from the folder's checkpoint on.

        Args:
            test: whether the test images are asked at the end.
        """
        config, data = self.config, self.data
        pl.seed_everything(config.machine.seed, workers=True, verbose=False)
        begun = begin(self.task, config, data, self.folder, **self.job.options)
        self.start, network = begun.start, begun.network
        loader = data.train_loader(config.optim.batch_size, config.machine.seed)
        steps = config.optim.epochs * len(loader)
        self.reporter.total, threads = steps, threads_now(config.machine)
        module = TaskModule(network, self.task, config.optim, steps, config.adversarial)
        return fit(
            module, data, config.machine, self.folder, self.reporter, self.job.title, keep_best=False,
            extra=describe(config, data, self.job.options, threads=threads, **begun.noted), test=test,
        )  # fmt: skip


_loaded: dict[str, ImageData] = {}


def keep_loaded(config: Any, data: ImageData) -> None:
    """Let jobs of this process with this task and data take what is loaded already."""
    _loaded.clear()
    _loaded[_key(config)] = data


def forget_loaded() -> None:
    """Let go of the data that jobs used."""
    _loaded.clear()


def _key(config: Any) -> str:
    return repr((config.task, config.data))


def loaded(config: TrainConfig) -> ImageData:
    """The data of a run."""
    if _key(config) not in _loaded:
        keep_loaded(config, find_task(config.task).load(config.data))
    return _loaded[_key(config)]


def run_one(job: Job, folder: Path, since: float = 0.0) -> State:
    """Do a job, unless it is done, somebody else is at it, or it failed before.

    Args:
        job: what to do.
        folder: of the experiment; the job's own is within.
        since: a failure from before that time, by the disk's clock, does not count: it is tried again.

    Returns:
        ``done``; ``failed``, with a traceback in ``log.txt``; or ``held`` by another worker.

    Raises:
        KeyboardInterrupt: a signal came; the state was saved.
    """
    own = folder / job.name
    if (state := state_of(job, folder, since)) is not None:
        return state
    last = own / LAST
    claim = _claims.take(own, mark=last.stat().st_mtime_ns if last.exists() else 0)
    if claim is None:
        return "held"
    reporter = Reporter(own, claim, threads_now(job.config.machine))
    with claim.start(reporter.write):
        if (state := state_of(job, folder, since)) is not None:  # in the meantime
            return state
        try:
            _check_deaths(claim)
            remove_leftovers(own, age=0)
            (own / FAILED).unlink(missing_ok=True)
            _do(job, folder, own, reporter, claim)
        except ClaimLostError:
            return "held"
        except Exception as error:
            _note_failure(own, error)
            return "failed"
        finally:
            reporter.close()
    return "done"


def _do(job: Job, folder: Path, own: Path, reporter: Reporter, claim: _claims.Claim) -> None:
    work = Work(job, own, reporter)
    reporter.write()
    now = origin_of(work.data, job.config.network)
    if (folder / DATA).is_file() and (changed := origin_differences(now, saved(folder / DATA))):
        raise ValueError(f"this worker would work on something else: {'; '.join(changed)}; needed: the same")
    found = {"origin": now, "threads": reporter.threads, "result": job.function(work, **job.arguments)}
    made = json.dumps(found, allow_nan=False)
    claim.check(now=True)
    write_text(own / RESULT, made)
    (own / LOG).unlink(missing_ok=True)  # of attempts that failed


def _check_deaths(claim: _claims.Claim) -> None:
    if claim.holder.deaths >= MOST_DEATHS:
        raise RuntimeError(
            f"{claim.holder.deaths} workers in a row died here without an error: killed, or out of memory"
        )


def _note_failure(own: Path, error: Exception) -> None:
    last = " ".join(traceback.format_exception_only(error)[-1].split())
    write_text(own / LOG, "".join(traceback.format_exception(error)))
    write_text(own / FAILED, json.dumps({"error": last}))


def state_of(job: Job, folder: Path, since: float = 0.0) -> Literal["done", "failed"] | None:
    """Whether a job needs nothing more; None if it has to be done."""
    own = folder / job.name
    if (own / RESULT).exists():
        return "done"
    try:
        return "failed" if (own / FAILED).stat().st_mtime >= since else None
    except FileNotFoundError:
        return None


def failure_of(job: Job, folder: Path, since: float = 0.0) -> str | None:
    """The last line of the log of a job that failed; None if it did not."""
    path = folder / job.name / FAILED
    with suppress(FileNotFoundError):  # whoever tries it again removes the file at any moment
        if state_of(job, folder, since) == "failed":
            return str(saved(path)["error"])
    return None


def result_of(job: Job, folder: Path) -> Any:
    """What the function of a finished job gave, as plain values.

    Raises:
        FileNotFoundError: it is not finished.
        ValueError: the file is damaged.
    """
    return saved(folder / job.name / RESULT)["result"]


def check_result(job: Job, folder: Path, now: dict[str, Any]) -> None:
    """Refuse a result that is of other data or another version.

    Raises:
        ValueError: it is.
    """
    path = folder / job.name / RESULT
    if path.exists() and (changed := origin_differences(now, saved(path)["origin"])):
        raise ValueError(
            f"{path} belongs to something else: {'; '.join(changed)}; needed: the same; --restart trains anew"
        )


def threads_now(machine: MachineConfig) -> int | None:
    """This process's threads, where they change what a training finds: on a processor; else None."""
    return torch.get_num_threads() if on_processor(machine) else None


def threads_of(job: Job, folder: Path) -> int | None:
    """The processor threads that a job was done or begun with; None: it was not, or on another device."""
    own = folder / job.name
    if (own / RESULT).exists():
        return saved(own / RESULT).get("threads")
    if (own / LAST).exists():
        return own_checkpoint(own / LAST)["decoupled_nets"].get("threads")
    held = own.is_dir() and _claims.holder_of(own) is not None
    return status.threads if held and (status := read_status(own)) is not None else None


def check_threads(jobs: Sequence[Job], folder: Path, threads: int) -> None:
    """Refuse to do jobs with another number of processor threads than those that are done or begun.

    Raises:
        ValueError: there are such; on other devices than processors nothing is refused.
    """
    for job in jobs:
        if not on_processor(job.config.machine):
            continue
        if (then := threads_of(job, folder)) not in (None, threads):
            raise ValueError(
                f"threads = {threads} received, and {folder / job.name} had {then}: their number changes the"
                f" digits of a training on a processor; needed: threads={then}; --restart trains all anew"
            )
