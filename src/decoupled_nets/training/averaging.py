"""A moving average of the weights of a network: what is validated, tested and kept where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def average_of(model: nn.Module, decay: float, device: torch.device | None = None) -> AveragedModel:
    """A copy of a model that moves towards it at each ``update_parameters``, statistics included."""
    return AveragedModel(model, device, multi_avg_fn=towards(decay), use_buffers=True)


def towards(decay: float) -> Callable[[Any, Any, Any], None]:
    """The update: decay · average + (1 − decay) · now; the decay begins at (1 + n) / (10 + n).

    The first steps of a network say little of it; as in TensorFlow's average, they fade sooner.
    """

    @torch.no_grad()
    def update(averages: list[Tensor], now: list[Tensor], averaged: Tensor) -> None:
        steps = int(averaged)
        weight = 1 - min(decay, (1 + steps) / (10 + steps))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, now, weight)
        else:
            torch._foreach_copy_(averages, now)  # counters

    return update


class WeightAverage(WeightAveraging):
    """pytorch-lightning's callback around :func:`average_of`: swaps it in where the network is judged.

    A checkpoint has the average under ``state_dict`` and, to go on with, what is trained beside it.

    Args:
        decay: of the average.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=towards(decay))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the average, where training is to run: the module is not there yet."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the module, also where there was nothing left to train."""
        self._copy_average_to_current(pl_module)
