"""What a network and the world around it are, before and after something that must not change them."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Snapshot:
    """Modes, parameters, buffers, what asks for a gradient, momentum, hooks; and random states."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.then = self._now()

    def changes(self) -> set[str]:
        """What differs now, such as ``"value of 0.weight"``; what is new or gone counts, too."""
        now = self._now()
        return {
            name
            for name in self.then.keys() | now.keys()
            if name not in now or name not in self.then or not _same(self.then[name], now[name])
        }

    def _now(self) -> dict[str, object]:
        found: dict[str, object] = {
            "random state of torch": torch.get_rng_state(),
            "random state of numpy": str(np.random.get_state()),  # noqa: NPY002
            "random state of python": random.getstate(),
        }
        for name, module in self.model.named_modules():
            found[f"mode of {name}"] = module.training
            found[f"hooks of {name}"] = [list(getattr(module, kind)) for kind in _HOOKS]
            if hasattr(module, "momentum"):
                found[f"momentum of {name}"] = module.momentum
        for name, parameter in self.model.named_parameters():
            found[f"gradient of {name}"] = parameter.requires_grad
        for name, value in [*self.model.named_parameters(), *self.model.named_buffers()]:
            found[f"value of {name}"] = value.detach().clone()
        return found


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    return one == other
