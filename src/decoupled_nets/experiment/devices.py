"""What this machine has for runs: GPUs, cores, memory."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..data import ImageData
from ..training import MachineConfig

BYTES_A_JOB = 2**30  # of a process with PyTorch and a small network; the data comes on top


def has_gpu(machine: MachineConfig) -> bool:
    """Whether a run on this machine trains on a GPU."""
    return machine.accelerator != "cpu" and torch.cuda.is_available()


def on_processor(machine: MachineConfig) -> bool:
    """Whether a run on this machine trains on the processor."""
    return not has_gpu(machine) and (
        machine.accelerator not in ("auto", "gpu", "mps") or not torch.backends.mps.is_available()
    )


def visible_devices(machine: MachineConfig) -> list[str]:
    """The GPUs to choose from, in CUDA's terms, if there are several."""
    if not has_gpu(machine) or (count := torch.cuda.device_count()) < 2:
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(k) for k in range(count)]


def jobs_that_fit(machine: MachineConfig, threads: int, data_bytes: int = 0) -> int:
    """How many runs this machine takes at a time: a GPU each, or cores and memory."""
    if has_gpu(machine):
        return torch.cuda.device_count()
    if torch.backends.mps.is_available() and machine.accelerator in ("auto", "gpu", "mps"):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fit = cores // max(threads, 1)
    if (free := free_bytes()) is not None:
        fit = min(fit, free // (BYTES_A_JOB + data_bytes))
    return max(int(fit), 1)


def free_bytes() -> int | None:
    """Memory that may be taken, where the system says."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def nbytes(data: ImageData) -> int:
    """Memory that images take in each process; none where they are read from disk."""
    images = [getattr(store, "images", None) for store in (data.train, data.val, data.test)]
    return sum(one.nbytes for one in images if isinstance(one, torch.Tensor))
