"""The training step outside a trainer, for measuring what it costs: the same loss, precision and update."""

from __future__ import annotations

import logging

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils._pytree import tree_map_only

from .._measure import Step, synchronize
from ..data import ImageData
from ..optim import project_weights_
from .averaging import average_of
from .config import MachineConfig
from .module import Batch, TaskModule


def root_device(machine: MachineConfig) -> torch.device:
    """The device that a run of one process trains on."""
    return _fabric(machine).device


def whole_step(
    module: TaskModule, batch: Batch, machine: MachineConfig | None = None, data: ImageData | None = None
) -> Step:
    """A function that does one whole training step on a batch, as the trainer does it.

    Mixing of the images, attacks on them, forward pass, loss with label smoothing and penalty, and backward
    pass, as often as gradients are accumulated; clipping, the optimizer's update, the projection of the
    weights in its turn, and the update of their average; in the precision and layout of `machine`, compiled
    if it says so, and on one device.

    Args:
        module: what is trained.
        batch: images and targets; where gradients are accumulated, it stands for all batches of a step.
        machine: what it runs on; by default the processor.
        data: where the batch is from; needed where the weights of the classes come from there.
    """
    machine = machine or MachineConfig(accelerator="cpu")
    fabric, config = _fabric(machine), module.config
    module.settle(machine, data)
    module.fabric = fabric  # where `self.log` goes without a trainer
    average = average_of(module, config.ema, fabric.device) if config.ema else None
    batch = tree_map_only(torch.Tensor, lambda tensor: tensor.to(fabric.device), batch)
    if (
        "mixed" not in machine.precision
    ):  # a trainer's mixed precision leaves images as they are; Fabric's not
        batch = fabric.strategy.precision.convert_input(batch)
    loss = _Loss(module.train(), batch)
    loss_of, optimizer = fabric.setup(loss, module.configure_optimizers()["optimizer"])
    batches = done = 0

    def step() -> None:
        nonlocal batches, done
        optimizer.zero_grad()
        for _ in range(config.accumulate):
            fabric.backward(loss_of(batches) / config.accumulate)
            batches += 1
        if config.clip_norm:
            fabric.clip_gradients(loss_of, optimizer, max_norm=config.clip_norm, error_if_nonfinite=False)
        optimizer.step()
        done += 1
        if config.project_every and done % config.project_every == 0:
            project_weights_(module)
        if average is not None:
            average.update_parameters(module)
        synchronize(fabric.device)

    return step


class _Loss(nn.Module):
    """The module's training step as a forward pass: that is what Fabric sets the precision for."""

    def __init__(self, module: TaskModule, batch: Batch) -> None:
        super().__init__()
        self.module, self.batch = module, batch

    def forward(self, number: int) -> torch.Tensor:
        # As in a trainer: Fabric's own cache would add the gradients of two passes up in half precision.
        cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            return self.module.training_step(self.batch, number)
        finally:
            torch.set_autocast_cache_enabled(cached)


def _fabric(machine: MachineConfig) -> Fabric:
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its own affairs
    return Fabric(accelerator=machine.accelerator, devices=1, precision=machine.precision)  # type: ignore[arg-type]
