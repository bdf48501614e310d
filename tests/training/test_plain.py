"""What is off is not there: the usual options do what a few lines of torch do, to the bit."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import decoupled_nets as dn
from decoupled_nets._progress import Progress
from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.tasks import find_task
from decoupled_nets.training import MachineConfig, OptimConfig, TaskModule, fit


def test_the_usual_options_are_a_plain_loop(tmp_path: Path) -> None:
    data = load_data(
        DataConfig(data="synthetic", train_size=32, val_size=8, test_size=8, image_size=16, workers=0)
    )
    torch.manual_seed(0)
    network = nn.Sequential(
        dn.DecoupledConv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )
    ours = copy.deepcopy(network)
    module = TaskModule(ours, find_task("classify")(data.classes), OptimConfig(epochs=2, batch_size=8), 8)
    with Progress(8, "", quiet=True) as progress:
        fit(module, data, MachineConfig(accelerator="cpu", seed=3), tmp_path, progress, "", keep_best=False)

    optimizer = torch.optim.Adam(dn.parameter_groups(network, 0.0), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    loader, losses = data.train_loader(8, 3), []
    for _ in range(2):
        for images, labels in loader:
            loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach() * len(images))
    for name, value in network.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name
    means = [float(sum(losses[k : k + 4]) / 32) for k in (0, 4)]
    assert [epoch["train_loss"] for epoch in module.history] == means
