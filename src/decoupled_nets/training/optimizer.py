"""The optimizer and its schedule."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from ..optim import parameter_groups
from .config import OptimConfig

STEP_MILESTONES = (34 / 64, 54 / 64)  # of CNN-9's recipe: divided by 10 at 34k and 54k of 64k steps


def make_optimizer(network: nn.Module, config: OptimConfig) -> Optimizer:
    """The optimizer over the network's parameter groups."""
    groups = parameter_groups(network, config.weight_decay)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.Adam(groups, lr=config.lr)


def make_schedule(optimizer: Optimizer, config: OptimConfig, steps: int) -> lr_scheduler.LRScheduler:
    """A linear warm-up, then the schedule over the rest of the steps."""
    warmup = int(config.warmup * steps)
    rest = max(steps - warmup, 1)
    schedule: lr_scheduler.LRScheduler
    if config.schedule == "cosine":
        schedule = lr_scheduler.CosineAnnealingLR(optimizer, rest)
    elif config.schedule == "step":
        schedule = lr_scheduler.MultiStepLR(optimizer, [round(m * rest) for m in STEP_MILESTONES])
    else:
        schedule = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if warmup == 0:
        return schedule
    rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, schedule], [warmup])
