"""What a forward pass keeps for the backward pass."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


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
