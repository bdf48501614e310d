"""Kernel norms of weights that do not change, for inference.

Autograd's version counter tells of every in-place change but those made through ``weight.data`` (as moving
averages of weights often are) or through a NumPy view. So the numbers are compared as well: all of a small
weight, of a large one a sample that walks through kernels, channels and taps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._C import _len_torch_dispatch_stack
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakTensorKeyDictionary

from .. import backend
from ..norms import kernel_norm

_SMALL = 2**16  # elements
_STRIDE = 61  # a prime, so that the sample walks through channels and taps


@dataclass(frozen=True)
class _Remembered:
    """Kernel norms, and the weight's state at that time."""

    storage: StorageWeakRef
    place: tuple[Any, ...]
    version: int
    sample: Tensor
    eps: float
    norm: Tensor

    def holds_for(self, weight: Tensor, eps: float) -> bool:
        """Whether `weight` is still what it was."""
        if (weight._version, _place(weight), eps) != (self.version, self.place, self.eps):
            return False
        # While a weak reference to it is held, no other storage has the same address.
        if weight.untyped_storage()._cdata != self.storage.cdata:
            return False
        return torch.equal(_sample(weight), self.sample)


_remembered: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def current_kernel_norm(weight: Tensor, eps: float) -> Tensor:
    """As :func:`kernel_norm`, but of a parameter whose gradient is not asked for only after a change."""
    # A mode (fake tensors, counting flops) is to see every operation.
    if not backend.eager_on("cpu", weight) or _len_torch_dispatch_stack() > 0:
        return kernel_norm(weight, eps)
    if torch.is_grad_enabled() and weight.requires_grad:
        if _remembered:
            _remembered.pop(weight, None)  # it is being trained
        return kernel_norm(weight, eps)
    constant = type(weight) is torch.nn.Parameter and not weight.is_inference()
    if not constant or not _by_kernel(weight).is_contiguous():
        return kernel_norm(weight, eps)
    known = _remembered.get(weight)
    if known is None or not known.holds_for(weight, eps):
        # Ordinary tensors also inside torch.inference_mode: autograd may meet them later.
        with torch.inference_mode(False), torch.no_grad():
            storage = StorageWeakRef(weight.untyped_storage())
            state = _place(weight), weight._version, _sample(weight).clone(), eps
            known = _Remembered(storage, *state, kernel_norm(weight, eps))
        _remembered[weight] = known
    return known.norm


def _place(weight: Tensor) -> tuple[Any, ...]:
    return weight.data_ptr(), weight.shape, weight.stride()


def _by_kernel(weight: Tensor) -> Tensor:
    """The weight with a kernel's elements behind each other, if it is contiguous in a memory format."""
    weight = weight.detach()
    return weight if weight.is_contiguous() else weight.movedim(1, -1)


def _sample(weight: Tensor) -> Tensor:
    flat = _by_kernel(weight).view(-1)
    return flat if flat.numel() <= _SMALL else flat[::_STRIDE]
