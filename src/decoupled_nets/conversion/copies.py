"""Copies of modules to try things on: nothing that happens to a copy is seen by the original."""

from __future__ import annotations

import copy
import random
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import checkpoint

_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
    "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
)  # fmt: skip
Change = Callable[[Tensor], Tensor]


def bare_copy(model: nn.Module, change: Change) -> tuple[nn.Module, dict[nn.Module, nn.Module]]:
    """A copy without hooks; `change` makes the copy's tensors, which all ask for a gradient if they can.

    Returns:
        The copy, and the original of every module in it.
    """
    memo: dict[int, Any] = {}
    modules = list(model.modules())
    for module in modules:
        for name in _HOOKS:
            if (hooks := module.__dict__.get(name)) is not None:
                memo[id(hooks)] = OrderedDict()
        tensors = [*module._parameters.values(), *module._buffers.values(), *module.__dict__.values()]
        for tensor in tensors:
            # A deep copy would refuse those with a history, as weights that hooks have made.
            if isinstance(tensor, Tensor) and id(tensor) not in memo:
                memo[id(tensor)] = _changed(tensor, change)
    twin = copy.deepcopy(model, memo)
    return twin, {memo[id(module)]: module for module in modules}


def _changed(tensor: Tensor, change: Change) -> Tensor:
    with torch.no_grad():
        new = change(tensor)
    if not isinstance(tensor, nn.Parameter):
        return new
    able = new.is_floating_point() or new.is_complex()
    return nn.Parameter(new, requires_grad=able)


@contextmanager
def to_run(model: nn.Module) -> Iterator[tuple[nn.Module, dict[nn.Module, nn.Module]]]:
    """What to run in a network's place: a bare copy, and the original of every module in it.

    A network that cannot be copied stands for itself, and has its buffers back afterwards.
    """
    try:
        found = bare_copy(model, cloned)
    except Exception:  # whatever somebody else's objects do when they are copied
        with _buffers_back(model):
            yield model, {module: module for module in model.modules()}
    else:
        yield found


@contextmanager
def _buffers_back(model: nn.Module) -> Iterator[None]:
    kept = [(module, dict(module._buffers)) for module in model.modules()]
    values = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for module, buffers in kept:
            module._buffers.update(buffers)
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)


def on_meta(tensor: Tensor) -> Tensor:
    """A tensor without memory."""
    return torch.empty_like(tensor, device="meta")


def cloned(tensor: Tensor) -> Tensor:
    """A tensor of the same numbers."""
    return tensor.clone()


@contextmanager
def unnoticed(device: torch.device) -> Iterator[None]:
    """Somebody else's code runs: it may draw random numbers and warn, and nobody is to notice."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    # Compiled parts would be compiled anew for what is tried, until torch gives up on them.
    eager = torch.compiler.set_stance("force_eager")
    devices = [device] if device.type == "cuda" else []
    try:
        with eager, torch.random.fork_rng(devices), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def is_out_of_memory(error: Exception) -> bool:
    """Whether a network failed for lack of memory, for which no other example is the remedy."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


class _Direct:
    """In the place of autograd's function for a checkpoint that runs its part again."""

    @staticmethod
    def apply(run: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        """The part's outputs, with their own history."""
        return run(*args)


@contextmanager
def checkpoints_seen_through() -> Iterator[None]:
    """Let parts under reentrant gradient checkpointing have a history, which they would be without."""
    before = checkpoint.CheckpointFunction
    checkpoint.CheckpointFunction = _Direct  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        checkpoint.CheckpointFunction = before  # type: ignore[misc]
