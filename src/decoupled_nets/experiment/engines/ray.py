"""Tasks of a Ray cluster: the one that RAY_ADDRESS names, else one of this machine, made for the purpose."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..worker import work
from . import Engine, Started, needs

if TYPE_CHECKING:
    from ..worker import Worker


class _Task(Started):
    def __init__(self, ray: Any, reference: Any) -> None:
        self.ray, self.reference = ray, reference

    def ended(self) -> bool:
        return bool(self.ray.wait([self.reference], timeout=0)[0])

    def stop(self) -> None:
        self.ray.cancel(self.reference)  # a KeyboardInterrupt there, as by a signal

    def trouble(self) -> str:
        try:
            self.ray.get(self.reference)
        except (self.ray.exceptions.RayError, KeyboardInterrupt) as error:
            return "" if isinstance(error, self.ray.exceptions.TaskCancelledError) else str(error)
        return ""


class Ray(Engine):
    """One task a worker, with its threads as CPUs and its share of a GPU."""

    name = "ray"

    def __enter__(self) -> Ray:
        # Nothing is sent anywhere, and nothing listens to other machines, unless there is a cluster.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ModuleNotFoundError as error:
            raise needs("ray", "ray") from error
        self.ray = ray
        own: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        own["num_cpus"] = max(os.cpu_count() or 1, self.jobs * max(self.config.threads, 1))
        elsewhere = bool(os.environ.get("RAY_ADDRESS"))
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **({} if elsewhere else own))
        return self

    def start(self, worker: Worker, count: int) -> list[Started]:
        """Start tasks."""
        task = self.ray.remote(work).options(num_cpus=worker.threads, num_gpus=self._gpus(), max_retries=0)
        return [_Task(self.ray, task.remote(worker)) for _ in range(count)]

    def _gpus(self) -> float:
        if self.config.gpus_per_job or self.machine.accelerator == "cpu":
            return self.config.gpus_per_job
        return min(self.ray.cluster_resources().get("GPU", 0.0), 1.0)

    def __exit__(self, *error: object) -> None:
        with suppress(Exception):
            self.ray.shutdown()
