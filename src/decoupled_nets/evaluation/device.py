"""Where networks are measured."""

from __future__ import annotations

import torch


def device_of(accelerator: str) -> torch.device:
    """The device of an option ``auto``, ``cpu`` or ``gpu``.

    Raises:
        ValueError: there is no GPU.
    """
    there = torch.cuda.is_available()
    if accelerator == "gpu" and not there:
        raise ValueError("accelerator = 'gpu' received and there is none; needed: auto or cpu")
    return torch.device("cuda" if there and accelerator != "cpu" else "cpu")
