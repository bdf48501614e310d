"""What is measured of one trained network, and of all operators together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from .._measure import interleaved_ratios, peak_bytes
from .._statistics import bootstrap, resampled, wilson
from ..data import ImageData
from ..models import PixelNetwork
from ..reports.results import Cost, Epoch, Features, Run, Score
from ..robustness import evaluate
from ..tasks import Task
from ..training import AdversarialConfig, TaskModule, TrainConfig
from ..training.folder import LAST
from ..training.network import load_network
from ..training.start import begin
from ..training.step import root_device, whole_step
from ..training.watch import WATCHED, ended
from .config import CompareConfig

#: The attacks of a comparison.
SUITE = "quick"
_RESAMPLES = 200  # of a metric that is no sum over images, which takes milliseconds a time


def history(module: TaskModule) -> list[Epoch]:
    """A run's epochs in the terms of the results."""
    value = f"val_{module.task.metric.name}"
    return [
        Epoch(
            int(e["epoch"]), e["train_loss"], e["val_loss"], e[value], e["seconds"],
            {name: e[name] for name in WATCHED if name in e},
        )
        for e in module.history
    ]  # fmt: skip


def adversarial_of(module: TaskModule) -> dict[str, Any]:
    """How a training was adversarial, and what became of it; nothing where it was not."""
    config = module.adversarial
    if config.way is None:
        return {}
    forwards, backwards = config.way.passes(config.adversarial_steps)
    return {
        "how": str(config), "forwards": forwards, "backwards": backwards, **ended(module.history)
    }  # fmt: skip


def run_of(module: TaskModule, config: CompareConfig, data: ImageData, operator: str, seed: int) -> Run:
    """The run of a trained network, with the attacks on it."""
    epochs = history(module)
    attacked: dict[str, Score] = {}
    flags: list[str] = []
    if config.attack_images and epochs[-1].train_loss == epochs[-1].train_loss:
        attacked, flags = _attacked(module, config, data, seed)
    assert module.tested is not None
    return Run(
        operator,
        seed,
        sum(p.numel() for p in module.network.parameters()),
        epochs,
        score_of(module),
        attacked,
        module.tested["metrics"],
        flags=flags,
        adversarial=adversarial_of(module),
    )


def score_of(module: TaskModule) -> Score:
    """The metric on the test images, with its interval over the choice of images."""
    tested, outcomes, task = module.tested, module.outcomes, module.task
    assert tested is not None
    assert outcomes is not None
    images = int(tested["images"])
    if task.share:
        ends = wilson(int(outcomes.sum()), images)
    elif task.adds:
        ends = bootstrap(outcomes, task.value) if images else None
    else:
        score = task.scorer(outcomes)
        ends = resampled(
            images, lambda some: score(some.bincount(minlength=images).numpy()), _RESAMPLES
        ) if images else None  # fmt: skip
    low, high = (None, None) if ends is None else (ends.low, ends.high)
    return Score(tested[task.metric.name], images, low, high)


def scored(task: Task, outcomes: Tensor) -> Score:
    """The metric of what is kept of test images, (N, counts), with its interval over their choice."""
    ends = bootstrap(outcomes, task.value)
    return Score(task.value(outcomes.sum(0), len(outcomes)), len(outcomes), ends.low, ends.high)


def _attacked(
    module: TaskModule, config: CompareConfig, data: ImageData, seed: int
) -> tuple[dict[str, Score], list[str]]:
    """What is left under the quick attacks, and the checks that speak up."""
    images, labels = data.test_subset(config.attack_images)
    # After a fit the trainer has moved the network back to the processor.
    device = root_device(config.machine)
    network = module.network.float().to(device).eval()
    found = evaluate(network, images.to(device), labels.to(device), config.threat, SUITE, seed=seed)
    return {SUITE: Score(found.accuracy, len(found), found.interval.low, found.interval.high)}, found.flags


def costs_of(task: Task, runs: Sequence[tuple[str, TrainConfig, Path]], data: ImageData) -> list[Cost]:
    """Time of the training step relative to the first run's, interleaved, and peak memory.

    Where training is adversarial, the first run's step is also measured beside that of plain training.

    Args:
        task: the task.
        runs: one of each operator, with its label and its folder: the network that it trained is measured,
            or the one that it would start from. All take a batch of the first one's size, so that steps can
            be compared.
        data: the images.
    """
    first = runs[0][1]
    device = root_device(first.machine)
    batch = next(iter(data.train_loader(first.optim.batch_size, first.machine.seed)))
    steps = []
    plainly = [] if first.adversarial.way is None else [(runs[0], AdversarialConfig())]
    for (_, config, folder), adversarial in [*((run, run[1].adversarial) for run in runs), *plainly]:
        pl.seed_everything(config.machine.seed, verbose=False)
        last = folder / LAST
        network = load_network(last) if last.is_file() else begin(task, config, data).network
        module = TaskModule(network, task, config.optim, 1, adversarial)
        steps.append(whole_step(module, batch, config.machine, data))
    ratios = interleaved_ratios(steps)
    beside: list[float | None] = [1 / ratio.median for ratio in ratios[len(runs) :]]
    beside += [None] * (len(runs) - len(beside))
    return [
        Cost(label, ratio.median, ratio.low, ratio.high, peak_bytes(step, device), plain)
        for (label, _, _), ratio, step, plain in zip(runs, ratios, steps, beside, strict=False)
    ]


def features_of(
    module: TaskModule, config: CompareConfig, data: ImageData, operator: str, most: int = 1500
) -> Features:
    """Validation features of a network whose last feature layer has two dimensions."""
    images, labels = data.val_subset(min(most, data.val_size))
    device = root_device(config.machine)
    network = module.network.eval().float().to(device)
    assert isinstance(network, PixelNetwork)
    x, y = placed(network, images, device).unbind(1)
    value = module.history[-1][f"val_{module.task.metric.name}"]
    return Features(operator, x.tolist(), y.tolist(), labels.tolist(), value)


@torch.no_grad()
def placed(network: PixelNetwork, images: Tensor, device: torch.device) -> Tensor:
    """What the classifier of a network sees of images, (N, features).

    Args:
        network: in evaluation mode, on the device.
        images: (N, C, H, W), pixels in [0, 1].
        device: the network's.
    """
    return torch.cat([network.features(some.to(device)) for some in images.split(250)]).cpu()
