"""All jobs of an experiment, done by whoever is there: our own workers and those of other machines."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .._files import clock
from ..data import ImageData
from .config import EngineConfig
from .devices import nbytes
from .engines import Engine, Started, engines
from .job import LOG, RESULT, Job, failure_of, forget_loaded, keep_loaded
from .table import Table
from .worker import Worker, free

POLL = 0.5  # seconds between two looks at the folders
PATIENCE = 120.0  # seconds that workers get to save what they have


@dataclass(frozen=True)
class Failure:
    """A job that failed: its log, and the log's last line."""

    job: Job
    log: Path
    error: str


@dataclass
class Outcome:
    """What became of the jobs, in their order; what they found is in their folders (:func:`result_of`)."""

    done: list[Job] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def execute(
    jobs: Sequence[Job],
    folder: Path,
    engine: EngineConfig | None = None,
    *,
    title: str = "runs",
    quiet: bool = False,
    data: ImageData | None = None,
    at_end_of: Callable[[Job], object] | None = None,
) -> Outcome:
    """Have all jobs done, and wait until they are, whoever does them.

    Jobs that are done are left alone; those that failed in an earlier call are tried again. A failing job
    does not keep the others from being done.

    Args:
        jobs: what to do, in this order.
        folder: of the experiment, which all who take part share.
        engine: who does it; None: this process.
        title: what the table of progress calls them.
        quiet: draw no table.
        data: the data of the jobs, if it is loaded already; for those done in this process.
        at_end_of: is called in this process with each job that has come to its end, in no fixed order.

    Raises:
        KeyboardInterrupt: a signal came; all workers of this call have saved and ended.
        RuntimeError: workers end without having done anything; says what they said.
    """
    config = engine or EngineConfig()
    if not jobs:
        return Outcome()
    folder.mkdir(parents=True, exist_ok=True)
    watch = _Watch(jobs, folder, clock(folder), at_end_of)
    machine = jobs[0].config.machine
    number = min(config.jobs_for(machine, nbytes(data) if data is not None else 0) or len(jobs), len(jobs))
    worker = Worker(tuple(jobs), folder, config.threads_for(machine, number), watch.since)
    with Table(jobs, folder, watch.since, title=title, quiet=quiet), _terminable():
        if config.engine == "local" and number == 1:
            _in_this_process(worker, watch, data)
        else:
            with engines()[config.engine](config, machine, number) as started:
                _elsewhere(worker, started, watch, quiet=quiet)
    return watch.outcome()


class _Watch:
    """Looks at the folders of jobs."""

    def __init__(
        self, jobs: Sequence[Job], folder: Path, since: float, at_end_of: Callable[[Job], object] | None
    ) -> None:
        self.jobs = jobs
        self.folder = folder
        self.since = since
        self.at_end_of = at_end_of
        self.jobs_left = list(jobs)
        self.errors: dict[str, str] = {}  # as seen: another shell that tries again removes what says so

    def left(self) -> list[Job]:
        """The jobs that have not come to their end."""
        still = []
        for job in self.jobs_left:
            if not self._ended(job):
                still.append(job)
            elif self.at_end_of is not None:
                self.at_end_of(job)
        self.jobs_left = still
        return still

    def _ended(self, job: Job) -> bool:
        if self._done(job):
            return True
        if (error := failure_of(job, self.folder, self.since)) is not None:
            self.errors[job.name] = error
        return error is not None

    def _done(self, job: Job) -> bool:
        return (self.folder / job.name / RESULT).exists()

    def free(self) -> list[Job]:
        """Those of them that nobody is at."""
        return [job for job in self.jobs_left if free(job, self.folder, self.since)]

    def outcome(self) -> Outcome:
        """What became of the jobs."""
        outcome = Outcome()
        for job in self.jobs:
            if self._done(job):
                outcome.done.append(job)
            else:
                error = self.errors.get(job.name, "its result is gone")
                outcome.failed.append(Failure(job, self.folder / job.name / LOG, error))
        return outcome


def _in_this_process(worker: Worker, watch: _Watch, data: ImageData | None) -> None:
    """Work while there is something to do; wait for others where there is not."""
    if data is not None:
        keep_loaded(worker.jobs[0].config, data)
    try:
        while watch.left():
            if not worker(most=1):
                time.sleep(POLL)
    finally:
        forget_loaded()


def _elsewhere(worker: Worker, engine: Engine, watch: _Watch, *, quiet: bool) -> None:
    """Keep as many workers going as there is work for, and as the engine takes."""
    running: list[Started] = []
    most, places = (1, len(watch.jobs)) if engine.alone else (0, engine.jobs)
    troubles, left = 0, len(watch.jobs)
    try:
        while watch.left():
            ended = [one for one in running if one.ended()]
            running = [one for one in running if one not in ended]
            troubles = troubles if len(watch.jobs_left) == left else 0
            left = len(watch.jobs_left)
            for text in filter(None, (one.trouble() for one in ended)):
                troubles += 1
                if troubles > 3 * (places + 1):
                    raise RuntimeError(f"workers end without having done anything; the last one: {text}")
            free = watch.free()
            starting = max(len(running) - (left - len(free)), 0)  # they have taken no job yet
            if (wanted := min(len(free) - starting, places - len(running))) > 0:
                running += engine.start(worker.doing(most), wanted)
            time.sleep(POLL)
    except KeyboardInterrupt:
        if not quiet:
            sys.stderr.write("\nAll workers stop after their step; once more stops at once.\n")
        raise
    finally:
        _end(running)


def _end(running: list[Started]) -> None:
    """End workers that are still there: each saves what it has."""
    for one in running:
        if not one.ended():
            one.stop()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not all(one.ended() for one in running):
        time.sleep(0.05)


@contextmanager
def _terminable() -> Iterator[None]:
    """A request to end (SIGTERM) counts as Ctrl-C."""

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
