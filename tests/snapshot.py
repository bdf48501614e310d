"""What a network and the world around it are, before and after something that must not change them."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch._dynamo.eval_frame
from torch import Tensor, nn
from torch.utils import checkpoint

#: What holds for the whole process, and who sets it for a while has to set it back.
_SETTINGS: dict[str, Callable[[], object]] = {
    "checkpointing": lambda: checkpoint.CheckpointFunction,
    "compiling": lambda: torch._dynamo.eval_frame._stance,
    "default type": torch.get_default_dtype,
    "gradients": torch.is_grad_enabled,
    "inference": torch.is_inference_mode_enabled,
    "logging of exporters": lambda: logging.getLogger("torch.onnx").level,
    "threads": torch.get_num_threads,
    "warnings": lambda: list(warnings.filters),
}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Snapshot:
    """Modes, parameters, buffers, gradients asked for, momentum, hooks; random states, and settings."""

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
            **{f"setting of {name}": get() for name, get in _SETTINGS.items()},
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
