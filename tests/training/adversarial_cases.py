"""What the tests of adversarial training share: modules, batches, and what a network is called with."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn

import decoupled_nets as dn
from decoupled_nets.robustness import Threat
from decoupled_nets.robustness.draws import Draws
from decoupled_nets.tasks import find_task
from decoupled_nets.training import AdversarialConfig, OptimConfig, TaskModule
from decoupled_nets.training.adversarial import Crafting

WAYS = ("n-fgsm", "fgsm-rs", "fgsm", "pgd", "trades")
STEPS = 3


def network() -> nn.Module:
    """Everything with statistics or chance: BatchNorm, a relative radius, dropout."""
    torch.manual_seed(0)
    layer = dn.DecoupledConv2d(3, 6, 3)
    return nn.Sequential(
        layer, nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(24, 4),
    )  # fmt: skip


def batch(size: int = 8) -> tuple[Tensor, Tensor]:
    """Images of 10² in [0, 1], and labels."""
    rng = torch.Generator().manual_seed(1)
    return torch.rand(size, 3, 10, 10, generator=rng), torch.arange(size) % 4


def module_of(net: nn.Module, way: str, threat: str = "linf:8/255", **options) -> TaskModule:
    """A module that takes steps without a trainer."""
    config = AdversarialConfig(way, threat, STEPS)
    module = TaskModule(
        copy.deepcopy(net), find_task("classify")(list("abcd")), OptimConfig(**options), 4, config
    )
    module.log = lambda *args, **more: None
    return module


def crafting(net, images, targets, threat="linf:8/255", steps=STEPS, loss=nn.functional.cross_entropy):
    """As the module makes it, for the first batch of the first epoch with seed 0."""
    draws = Draws(torch.arange(len(images)), "adversarial 0 0", 0)
    return Crafting(net, partial(loss), images, targets, Threat.parse(threat), draws, steps)


class Calls:
    """Notes what a network is called with, in which mode, and how often something flows back."""

    def __init__(self, net: nn.Module) -> None:
        self.inputs: list[Tensor] = []
        self.training: list[bool] = []
        self.wanted: list[bool] = []
        self.backwards = 0
        net.register_forward_hook(self._note)

    def _note(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        self.inputs.append(args[0].detach().clone())
        self.training.append(any(m.training for m in module.modules()))
        self.wanted.append(any(p.requires_grad for p in module.parameters()))
        if output.requires_grad:
            output.register_hook(self._count)

    def _count(self, gradient: Tensor) -> None:
        self.backwards += 1
