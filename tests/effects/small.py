"""Training that takes a moment: a few images of 16², one small network."""

from __future__ import annotations

import functools
from pathlib import Path

from torch import nn

import decoupled_nets as dn
from decoupled_nets._progress import Progress
from decoupled_nets.data import DataConfig, ImageData, load_data
from decoupled_nets.tasks import Task, find_task
from decoupled_nets.training import MachineConfig, OptimConfig, TaskModule, fit

SIZES = {"train_size": 16, "val_size": 8, "test_size": 8, "image_size": 16, "workers": 0}


@functools.cache
def images(**options) -> ImageData:
    """16 + 8 + 8 images of stripes."""
    return load_data(DataConfig(data="synthetic", **{**SIZES, **options}))


def network(**options) -> nn.Module:
    """A decoupled convolution and a classifier."""
    return nn.Sequential(
        dn.DecoupledConv2d(3, 4, 3, **options), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )


def classify(classes: int = 4) -> Task:
    """Classification into so many classes."""
    return find_task("classify")([str(k) for k in range(classes)])


def module_of(net: nn.Module | None = None, steps: int = 4, **options) -> TaskModule:
    """A module that may take its steps without a trainer."""
    return TaskModule(net or network(), classify(), OptimConfig(**options), steps)


def trained(
    folder: Path, net: nn.Module | None = None, machine: MachineConfig | None = None, **options
) -> TaskModule:
    """Train one epoch in batches of 4, on the processor."""
    options = {"epochs": 1, "batch_size": 4, **options}
    module = module_of(net, **options)
    machine = machine or MachineConfig(accelerator="cpu")
    with Progress(4, "", quiet=True) as progress:
        return fit(module, images(), machine, folder, progress, "small", keep_best=False)
