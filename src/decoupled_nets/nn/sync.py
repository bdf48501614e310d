"""Means over several processes: which group a layer in training shares its mean with, and the mean itself.

How a layer finds out is said in ``docs/decisions/0014-relative-radius-in-a-process-group.md``.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

#: True, False, ``"auto"`` or a ``torch.distributed.ProcessGroup``.
Sync = bool | Literal["auto"] | Any


class _GlobalMean(torch.autograd.Function):
    """Mean over the elements of all processes, with the gradient that DDP's averaging expects.

    DDP averages the processes' parameter gradients, so the gradient that reaches this process's elements has
    to be the processes' sum divided by the count of all elements.
    """

    @staticmethod
    def forward(ctx: Any, local_sum: Tensor, count: int, group: Any) -> Tensor:
        # Filled on the device: a copy of a number from here would have to wait for it.
        both = torch.stack([local_sum, torch.full_like(local_sum, count)])
        dist.all_reduce(both, group=group)
        ctx.group = group
        ctx.count = both[1].clamp(min=1)
        return both[0] / ctx.count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        grad = grad.clone()
        dist.all_reduce(grad, group=ctx.group)
        return grad / ctx.count, None, None


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
        group = _group(layer, sync)
        if group is not None and dist.get_world_size(group) > 1:
            return _mean_of_group(x, group)
    return x.mean() if x.numel() else None


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@torch.compiler.disable
def _mean_of_group(x: Tensor, group: Any) -> Tensor:
    mean: Tensor = _GlobalMean.apply(x.sum(), x.numel(), group)
    return mean


def recomputing() -> bool:
    """Whether this forward pass runs within a backward pass: gradient checkpointing repeats the first one."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


# Not in the layers: a process group is neither copied nor pickled.
_last_group: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


class _State:
    warned = False


@torch.compiler.disable
def _group(layer: nn.Module, sync: Sync) -> Any:
    """The processes to share with, or None."""
    if sync is True:
        return dist.group.WORLD
    if sync != "auto":
        return sync
    if recomputing():  # after the wrapper's forward pass, which is to be repeated as it was
        return _last_group.get(layer)
    wrapper = DistributedDataParallel._get_active_ddp_module()
    group = None if wrapper is None else wrapper.process_group
    _last_group[layer] = group
    if group is None and not _State.warned:
        _State.warned = True
        warnings.warn(
            "a relative radius in one of several processes, outside DistributedDataParallel, takes the mean "
            "patch norm of its own batch: RelativeRadius(sync=True) shares it with all processes (which FSDP "
            "needs), sync=False says that it is not to be shared",
            stacklevel=2,
        )
    return group
