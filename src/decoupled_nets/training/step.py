"""The training step outside a trainer, for measuring what it costs: the same loss, precision and update."""

from __future__ import annotations

import logging

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils._pytree import tree_map_only

from .._measure import Step, synchronize
from ..optim import project_weights_
from .config import MachineConfig
from .module import Batch, TaskModule


def root_device(machine: MachineConfig) -> torch.device:
    """The device that a run of one process trains on."""
    return _fabric(machine).device


def whole_step(module: TaskModule, batch: Batch, machine: MachineConfig | None = None) -> Step:
    """A function that does one whole training step on a batch, as the trainer does it.

    Forward pass, loss with label smoothing and penalty, backward pass, the optimizer's update, and the
    projection of the weights in its turn; in the precision of `machine`, uncompiled and on one device.
    """
    fabric = _fabric(machine or MachineConfig(accelerator="cpu"))
    module.fabric = fabric  # where `self.log` goes without a trainer
    loss_of, optimizer = fabric.setup(_Loss(module.train()), module.configure_optimizers()["optimizer"])
    batch = tree_map_only(torch.Tensor, lambda tensor: tensor.to(fabric.device), batch)
    every, done = module.config.project_every, 0

    def step() -> None:
        nonlocal done
        loss = loss_of(batch, done)
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        done += 1
        if every and done % every == 0:
            project_weights_(module)
        synchronize(fabric.device)

    return step


class _Loss(nn.Module):
    """The module's training step as a forward pass: that is what Fabric sets the precision for."""

    def __init__(self, module: TaskModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Batch, number: int) -> torch.Tensor:
        return self.module.training_step(batch, number)


def _fabric(machine: MachineConfig) -> Fabric:
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its own affairs
    return Fabric(accelerator=machine.accelerator, devices=1, precision=machine.precision)  # type: ignore[arg-type]
