"""Processes of this machine."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from ..devices import visible_devices
from . import Engine, Started

if TYPE_CHECKING:
    from ..worker import Worker


class _Process(Started):
    """A process; it ends by itself when the pipe from this one does."""

    def __init__(self, worker: Worker, device: str | None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the process)
        environment = {**os.environ, "OMP_NUM_THREADS": str(worker.threads)}
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        self.process = subprocess.Popen(
            [sys.executable, "-m", "decoupled_nets.experiment.worker"],
            stdin=subprocess.PIPE, stdout=self._errors, stderr=self._errors, env=environment,
            start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
        )  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(pickle.dumps(worker))
        self.process.stdin.flush()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> None:
        self.process.terminate()

    def trouble(self) -> str:
        if self.process.returncode in (0, 130, None):
            return ""
        self._errors.seek(0)
        return (
            f"exit status {self.process.returncode}: {self._errors.read().decode(errors='replace')[-2000:]}"
        )


class Local(Engine):
    """So many processes; each GPU in turn."""

    name = "local"
    _turn = 0

    def start(self, worker: Worker, count: int) -> list[Started]:
        """Start processes."""
        devices = visible_devices(self.machine)
        started: list[Started] = []
        for _ in range(count):
            started.append(_Process(worker, devices[self._turn % len(devices)] if devices else None))
            self._turn += 1
        return started
