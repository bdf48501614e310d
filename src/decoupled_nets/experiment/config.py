"""What the user says about who does the runs, and where."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .._registry import unknown
from ..training.config import MachineConfig
from .devices import has_gpu, jobs_that_fit
from .engines import engines


@dataclass(frozen=True)
class EngineConfig:
    """Who does the runs. Only `threads` changes what they find; the same command elsewhere shares the work.

    Args:
        engine: `local` (processes of this machine), `ray` (a Ray cluster; of this machine unless RAY_ADDRESS
            names one) or `slurm` (an array of jobs).
        jobs: Runs at the same time. 1 stays in this process; 0 takes as many as there are processor cores
            (with GPUs: devices) and as memory allows, and leaves it to `ray` and `slurm`.
        threads: Processor threads of a run. On a processor their number changes the digits of a training, so
            all runs in a folder have the same; several runs side by side use cores better than threads do:
            0 takes one. With a GPU, where it does not matter, 0 takes this process's threads divided among
            the jobs.
        gpus_per_job: GPUs that a run takes of a Ray cluster, such as 0.25; 0 takes one if there are any.
        slurm: Options of the SLURM jobs, such as partition=gpu,time=120,gres=gpu:1 (time in minutes).

    Raises:
        ValueError: there is no such engine, or a number is out of range.
    """

    engine: str = "local"
    jobs: int = 1
    threads: int = 0
    gpus_per_job: float = 0.0
    slurm: str = ""

    def __post_init__(self) -> None:
        if self.engine not in engines():
            raise ValueError(unknown("engine", self.engine, list(engines())))
        for name in ("jobs", "threads", "gpus_per_job"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: at least 0")
        for name, owner in (("gpus_per_job", "ray"), ("slurm", "slurm")):
            if getattr(self, name) and self.engine != owner:
                raise ValueError(
                    f"{name} = {getattr(self, name)!r} received with engine={self.engine};"
                    f" needed: engine={owner}"
                )
        self.slurm_options  # noqa: B018  (refuses what is none)

    @property
    def slurm_options(self) -> dict[str, int | str]:
        """The options of the SLURM jobs by name; whole numbers as such."""
        found: dict[str, int | str] = {}
        for pair in filter(None, self.slurm.split(",")):
            name, equals, value = pair.partition("=")
            if not (name.strip() and equals):
                raise ValueError(
                    f"slurm = {self.slurm!r} received; needed: options as in partition=gpu,time=120"
                )
            found[name.strip()] = int(value) if value.strip().isdecimal() else value.strip()
        return found

    def jobs_for(self, machine: MachineConfig, data_bytes: int = 0) -> int:
        """Runs at the same time; 0: all of them, as another program queues them."""
        if self.jobs or self.engine != "local":
            return self.jobs
        return jobs_that_fit(machine, self.threads or 1, data_bytes)

    def threads_for(self, machine: MachineConfig, jobs: int) -> int:
        """Threads of a run, where `jobs` run at a time."""
        if self.threads:
            return self.threads
        return max(torch.get_num_threads() // jobs, 1) if has_gpu(machine) else 1
