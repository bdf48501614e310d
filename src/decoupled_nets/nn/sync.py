"""Means over several processes: which group a layer in training shares its mean with, and the mean itself.

How a layer finds out is said in ``docs/decisions/0014-relative-radius-in-a-process-group.md``.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

#: True, False, ``"auto"`` or a ``torch.distributed.ProcessGroup``.
Sync = bool | Literal["auto"] | Any


def is_sync(value: Any) -> bool:
    """Whether this says with whom a mean is shared."""
    if isinstance(value, bool) or value == "auto":
        return True
    return dist.is_available() and isinstance(value, dist.ProcessGroup)


def shared_mean(layer: nn.Module, x: Tensor, sync: Sync) -> Tensor | None:
    """Mean of the elements of x, in training; None if there are none.

    Args:
        layer: whose mean it is.
        x: this process's elements.
        sync: the processes that share it.
    """
    if sync is not False and _several_processes():
        from . import process_group

        group = process_group.group_of(layer, sync)
        if group is not None and dist.get_world_size(group) > 1:
            return process_group.mean_of_group(x, group)
    return x.mean() if x.numel() else None


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def recomputing() -> bool:
    """Whether this forward pass runs within a backward pass: gradient checkpointing repeats the first one."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
