"""Processes of this machine."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections import Counter
from typing import TYPE_CHECKING

from ..devices import visible_devices
from . import Engine, Started

if TYPE_CHECKING:
    from ...training import MachineConfig
    from ..config import EngineConfig
    from ..worker import Worker


class _Process(Started):
    """A process; it ends by itself when the pipe from this one does."""

    def __init__(self, worker: Worker, device: str | None) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the process)
        self._text = ""
        environment = {**os.environ, "OMP_NUM_THREADS": str(worker.threads)}
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        theirs, self._pipe = os.pipe()
        with tempfile.TemporaryFile() as task:
            pickle.dump(worker, task)
            task.seek(0)
            self.process = subprocess.Popen(
                [sys.executable, "-m", "decoupled_nets.experiment.worker", str(theirs)],
                stdin=task, stdout=self._said, stderr=self._said, env=environment, pass_fds=[theirs],
                start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
            )  # fmt: skip
        os.close(theirs)

    def ended(self) -> bool:
        if self.process.poll() is None:
            return False
        if not self._said.closed:
            os.close(self._pipe)
            self._said.seek(0)
            self._text = self._said.read().decode(errors="replace")
            self._said.close()
        return True

    def stop(self) -> None:
        self.process.terminate()

    def trouble(self) -> str:
        status = self.process.returncode
        return "" if status in (0, 130) else f"exit status {status}; {self._text[-2000:]}"


class Local(Engine):
    """So many processes; with several GPUs, each has one."""

    name = "local"

    def __init__(self, config: EngineConfig, machine: MachineConfig, jobs: int) -> None:
        super().__init__(config, machine, jobs)
        self._at: list[tuple[str, Started]] = []

    def start(self, worker: Worker, count: int) -> list[Started]:
        """Start processes."""
        devices = visible_devices(self.machine)
        started: list[Started] = []
        for _ in range(count):
            device = self._idlest(devices) if devices else None
            started.append(_Process(worker, device))
            self._at += [(device, started[-1])] if device is not None else []
        return started

    def _idlest(self, devices: list[str]) -> str:
        """The device with the fewest workers: whoever died has left its own."""
        self._at = [(device, one) for device, one in self._at if not one.ended()]
        workers = Counter(device for device, _ in self._at)
        return min(devices, key=lambda device: workers[device])
