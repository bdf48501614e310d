"""The whole training step of a classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._measure import Step
from ..tasks import find_task
from ..training import OptimConfig, TaskModule
from ..training.step import whole_step


def classifier_step(network: nn.Module, images: Tensor, classes: int) -> Step:
    """A function that trains `network` on `images` with random labels: forward, backward, update."""
    task = find_task("classify")([str(k) for k in range(classes)])
    labels = torch.randint(classes, (len(images),))
    return whole_step(TaskModule(network, task, OptimConfig(), 1), (images, labels))
