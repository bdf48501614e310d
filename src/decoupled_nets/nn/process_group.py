"""The mean over several processes, and which they are: what compilers leave to Python.

A module of its own, because ``torch.compiler.disable`` imports the compiler, which takes longer than all the
rest of this package: :mod:`.sync` needs it only where there are several processes.
"""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .sync import recomputing


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


@torch.compiler.disable
def mean_of_group(x: Tensor, group: Any) -> Tensor:
    """The mean of the elements of all processes of a group."""
    mean: Tensor = _GlobalMean.apply(x.sum(), x.numel(), group)
    return mean


# Not in the layers: a process group is neither copied nor pickled.
_last_group: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


class _State:
    warned = False


@torch.compiler.disable
def group_of(layer: nn.Module, sync: Any) -> Any:
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
