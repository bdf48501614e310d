"""A worker: takes the next job that nobody has, does it, and so on. All engines run this, somewhere."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import FrameType

import torch

from .. import _claims
from .._code import file_of, import_code, names_code
from .job import Job, run_one, state_of


@dataclass(frozen=True)
class Worker:
    """What a worker needs to know; it can be pickled, and is called where it is to work.

    Attributes:
        jobs: All jobs of the experiment, in the order in which they are to be done.
        folder: Of the experiment.
        threads: Processor threads of a run.
        since: A failure from before that time, by the disk's clock, does not count.
        most: How many jobs it does; 0 all it can get.
    """

    jobs: tuple[Job, ...]
    folder: Path
    threads: int
    since: float = 0.0
    most: int = 0

    def __call__(self, most: int | None = None) -> int:
        """Do jobs until none is left that nobody has; returns how many.

        Args:
            most: at most so many; None: as many as the worker's own `most`.

        Raises:
            KeyboardInterrupt: a signal came; the state was saved.
        """
        most, done = self.most if most is None else most, 0
        with _threads(self.threads):
            while (not most or done < most) and self._one():
                done += 1
        return done

    def doing(self, most: int) -> Worker:
        """The same that does at most so many jobs."""
        return replace(self, most=most)

    def _one(self) -> bool:
        """Do the first job that is to be had; False: there is none."""
        return any(
            run_one(job, self.folder, self.since) != "held"
            for job in self.jobs
            if free(job, self.folder, self.since)
        )


def free(job: Job, folder: Path, since: float) -> bool:
    """Whether a job has to be done and nobody is at it."""
    return state_of(job, folder, since) is None and (
        not (folder / job.name).is_dir() or _claims.holder_of(folder / job.name) is None
    )


def work(worker: Worker) -> None:
    """Call a worker in a process that was made for it, which has to import the user's code first."""
    networks = {(job.config.network.plugin, job.config.network.model) for job in worker.jobs}
    for plugin, model in sorted(networks, key=str):
        if plugin:
            _import_once(plugin)
        if names_code(model):
            import_code(file_of(model), "model")
    worker()


_import_once = cache(import_code)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_parent(pipe: int) -> None:
    """Stop, as at a signal, when whoever started this process has gone: the pipe from it ends."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """The process of a worker, which comes pickled; the argument is a pipe from the parent."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        threading.Thread(target=_end_with_parent, args=(int(sys.argv[1]),), daemon=True).start()
        worker: Worker = pickle.load(sys.stdin.buffer)
        work(worker)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
