"""What code costs: time beside a baseline's, measured side by side, and memory."""

from __future__ import annotations

import itertools
import statistics
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Step = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """Median and quartiles of the ratio of a time to the baseline's of the same round."""

    median: float
    low: float
    high: float


def interleaved_ratios(
    steps: Sequence[Step], rounds: int = 15, warmup: int = 2, clock: Callable[[], float] = time.perf_counter
) -> list[Ratio]:
    """Time every step once a round, and compare with the first step of the same round.

    Within a round each step runs under the same load of the machine; the order alternates from round to
    round. With ``clock=time.process_time`` what other programs take of the processor does not count.
    """
    times: list[list[float]] = [[] for _ in steps]
    for number in range(warmup + rounds):
        order = range(len(steps)) if number % 2 else reversed(range(len(steps)))
        for i in order:
            start = clock()
            steps[i]()
            if number >= warmup:
                times[i].append(clock() - start)
    return [_ratio(own, times[0]) for own in times]


def _ratio(own: list[float], baseline: list[float]) -> Ratio:
    ratios = [a / b for a, b in zip(own, baseline, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def peak_bytes(step: Step, device: torch.device | None = None) -> int:
    """The most tensor memory that one call of `step` holds at a time beyond what was held before."""
    if device is not None and device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    with _HeldMemory() as memory:
        step()
    return memory.peak


class _HeldMemory(TorchDispatchMode):
    """Adds up the storages that operations make, and takes each away when it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in before:
                self._hold(tensor.untyped_storage())
        return out

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size


def kept_bytes(module: nn.Module, x: Tensor) -> int:
    """Bytes of input, output and what autograd keeps beside them, parameters and buffers aside."""
    held: dict[int, int] = {}

    def hold(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        out = module(x)
    hold(x)
    hold(out)
    state = itertools.chain(module.parameters(), module.buffers())
    own = {t.untyped_storage().data_ptr() for t in state}
    return sum(size for at, size in held.items() if at not in own)
