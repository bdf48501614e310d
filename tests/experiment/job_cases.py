"""Jobs that take no time, and what does them: functions that any process finds by name."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from decoupled_nets.experiment import Job, Work
from decoupled_nets.experiment.engines import Engine, Started
from decoupled_nets.experiment.worker import Worker
from decoupled_nets.training import TrainConfig

SMALL = {
    "data": "synthetic", "operator": "conv", "width": 0.03, "epochs": 2, "batch_size": 8, "train_size": 32,
    "val_size": 8, "test_size": 8, "image_size": 25, "lr": 3e-3, "accelerator": "cpu",
}  # fmt: skip


def job(name: str, does: str = "note", **arguments: Any) -> Job:
    return Job(f"runs/{name}", f"job_cases:{does}", TrainConfig.of(**SMALL), name, arguments=arguments)


def note(work: Work, **arguments: Any) -> dict[str, Any]:
    """Write down who did it; several times, if it was done several times."""
    with (work.folder / "done.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return {"name": work.job.name, **arguments}


def fail(work: Work) -> None:
    raise ZeroDivisionError("of\nno use")


def fail_unless(work: Work, path: str) -> dict[str, Any]:
    if not Path(path).exists():
        raise OSError(f"{path} is missing")
    return note(work)


def wait(work: Work, path: str) -> dict[str, Any]:
    """Go on when a file appears, or a signal comes."""
    while not Path(path).exists():
        time.sleep(0.02)
        work.reporter.advance()
    return note(work)


def die(work: Work) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(work: Work) -> dict[str, Any]:
    path = work.folder / "died"
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return note(work)


def trained(work: Work) -> dict[str, Any]:
    module = work.train()
    return {"losses": [epoch["train_loss"] for epoch in module.history]}


def workers(folder: Path, name: str) -> list[int]:
    """Who did a job."""
    return [int(line) for line in (folder / "runs" / name / "done.txt").read_text().split()]


class _Thread(Started):
    def __init__(self, worker: Worker) -> None:
        self.thread = threading.Thread(target=worker)
        self.thread.start()

    def ended(self) -> bool:
        return not self.thread.is_alive()

    def stop(self) -> None:
        pass


class Threads(Engine):
    """Workers that are threads of this process."""

    name = "threads"
    started: list[int] = []  # noqa: RUF012  (how many at a time, for all tests)

    def start(self, worker: Worker, count: int) -> list[Started]:
        self.started.append(count)
        return [_Thread(worker) for _ in range(count)]
