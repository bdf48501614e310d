"""What a result was measured with."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch

from . import __version__
from .ops import backend


def environment() -> dict[str, Any]:
    """Versions, threads and machine, as plain values."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "decoupled-nets": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "pytorch-lightning": version("pytorch-lightning"),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "kernels": backend.status.capability or f"none: {backend.status.reason}",
        "gpus": devices,
    }
