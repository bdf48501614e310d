"""Arrays of SLURM jobs, by submitit: one for each run, so many at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..worker import work
from . import Engine, Started, needs

if TYPE_CHECKING:
    from ..worker import Worker


class _ArrayJob(Started):
    def __init__(self, job: Any) -> None:
        self.job = job

    def ended(self) -> bool:
        return bool(self.job.done())

    def stop(self) -> None:
        self.job.cancel()  # SIGTERM: it saves and ends

    def trouble(self) -> str:
        return (
            ""
            if self.job.state.split()[0] in ("COMPLETED", "CANCELLED", "FINISHED")
            else str(self.job.stderr())
        )


class Slurm(Engine):
    """One worker a run: a time limit is one run's, and whoever ran into it is started again."""

    name = "slurm"
    alone = True
    cluster: str | None = None  # submitit's own word: None is SLURM

    def start(self, worker: Worker, count: int) -> list[Started]:
        """Submit an array."""
        try:
            import submitit
        except ModuleNotFoundError as error:
            raise needs("submitit", "slurm") from error
        executor = submitit.AutoExecutor(
            folder=Path(worker.folder) / "slurm", cluster=self.cluster or "slurm"
        )
        options = {"cpus_per_task": worker.threads, "slurm_array_parallelism": min(self.jobs, count)}
        executor.update_parameters(
            **options, **{self._name(name): value for name, value in self.config.slurm_options.items()}
        )
        return [_ArrayJob(job) for job in executor.map_array(work, [worker] * count)]

    @staticmethod
    def _name(option: str) -> str:
        """SLURM's own name of an option as submitit has it."""
        return {"time": "timeout_min"}.get(option, f"slurm_{option.replace('-', '_')}")
