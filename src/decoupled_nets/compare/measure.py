"""What is measured of one trained network, and of all operators together."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import pytorch_lightning as pl
import torch

from .._measure import interleaved_ratios, peak_bytes
from ..data import ImageData
from ..reports.results import Cost, Count, Epoch, Features, Run
from ..robustness import Attack, fgsm, pgd, surviving
from ..training import ClassificationTask, build_network
from ..training.run import root_device
from ..training.task import whole_step
from .config import CompareConfig


def history(task: ClassificationTask) -> list[Epoch]:
    """A task's epochs in the terms of the results."""
    return [
        Epoch(
            int(e["epoch"]), e["train_loss"], e["val_loss"],
            Count(int(e["val_correct"]), int(e["val_total"])), e["seconds"],
        )
        for e in task.history
    ]  # fmt: skip


def run_of(task: ClassificationTask, config: CompareConfig, data: ImageData, operator: str, seed: int) -> Run:
    """The run of a trained task, with the attacks on its network."""
    epochs = history(task)
    attacked: dict[str, Count] = {}
    if config.attack_images and epochs[-1].train_loss == epochs[-1].train_loss:
        images, labels = data.test_subset(config.attack_images)
        # After a fit the trainer has moved the network back to the processor.
        device = root_device(config)
        network = task.network.float().to(device)
        images, labels = images.to(device), labels.to(device)
        start = torch.Generator().manual_seed(seed)
        attacks: dict[str, Attack] = {"fgsm": fgsm, "pgd10": partial(pgd, generator=start)}
        for name, attack in attacks.items():
            correct = surviving(network, images, labels, attack, config.attack_radius)
            attacked[name] = Count(correct, len(labels))
    parameters = sum(p.numel() for p in task.network.parameters())
    assert task.tested is not None
    test = Count(int(task.tested["correct"]), int(task.tested["total"]))
    return Run(operator, seed, parameters, epochs, test, attacked)


def costs_of(config: CompareConfig, data: ImageData) -> list[Cost]:
    """Step time relative to the first operator's, interleaved, and peak memory; in float32, uncompiled."""
    device = root_device(config)
    images, labels = next(iter(data.train_loader(config.batch_size, config.seed)))
    images, labels = images.to(device), labels.to(device)
    steps = []
    for operator in config.names:
        pl.seed_everything(config.seed, verbose=False)
        network = build_network(config, operator, data).to(device)
        steps.append(whole_step(network, config, images, labels))
    ratios = interleaved_ratios(steps)
    return [
        Cost(operator, ratio.median, ratio.low, ratio.high, peak_bytes(step, device))
        for operator, ratio, step in zip(config.names, ratios, steps, strict=True)
    ]


def features_of(
    task: ClassificationTask, config: CompareConfig, data: ImageData, operator: str, most: int = 1500
) -> Features:
    """Validation features of a network whose last feature layer has two dimensions."""
    images, labels = data.val_subset(min(most, data.val_size))
    device = root_device(config)
    network = cast(Any, task.network.eval().float().to(device))
    with torch.no_grad():
        parts = [_features(network, some.to(device)) for some in images.split(250)]
    x, y = torch.cat(parts).cpu().unbind(1)
    final = task.history[-1]
    return Features(
        operator,
        x.tolist(),
        y.tolist(),
        labels.tolist(),
        Count(int(final["val_correct"]), int(final["val_total"])),
    )


def _features(network: Any, images: torch.Tensor) -> torch.Tensor:
    inner = network.network
    return inner.forward_head(inner.forward_features(network.normalize(images)), pre_logits=True)
