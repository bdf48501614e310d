"""Adversarial training: how the images of a batch are attacked before the network learns from them.

A way is a function in a registry; docs/adversarial-training.md says what each is for. B: batch, K: classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._registry import unknown
from ..robustness import Threat
from ..robustness.draws import Draws

#: From what a network gives and its targets to a number; the mean over a batch.
Loss = Callable[[Tensor, Tensor], Tensor]
Forward = Callable[[Tensor], Tensor]
#: PGD goes so far in all, in radii: it reaches the ball's surface from everywhere in it (Madry et al., 2018).
_WAY = 2.5
_NOISE = 1e-3  # where TRADES starts: at the image itself the divergence has no slope


@dataclass(frozen=True)
class Crafting:
    """What a way has at hand to attack a batch.

    Attributes:
        forward: From images (B, C, H, W) to logits (B, K), in evaluation mode.
        loss: The loss of training: label smoothing, weights of classes.
        images: (B, C, H, W), pixels in [0, 1].
        targets: Labels (B,), or the shares of the classes (B, K).
        threat: Norm and radius.
        draws: A stream of random numbers for each image.
        steps: Gradient steps, where a way has a choice.
    """

    forward: Forward
    loss: Loss
    images: Tensor
    targets: Tensor
    threat: Threat
    draws: Draws
    steps: int

    def ascent(self, images: Tensor, loss: Loss | None = None) -> Tensor:
        """The change of length 1 along which the loss of the batch rises fastest, (B, C, H, W)."""
        images = images.detach().requires_grad_()
        value = (loss or self.loss)(self.forward(images), self.targets)
        (gradient,) = torch.autograd.grad(value, images)
        return self.threat.ascent(gradient)

    def noise(self, radius: float) -> Tensor:
        """The images with uniform noise of ±`radius` on each pixel, within [0, 1]."""
        noise = 2 * self.draws.uniform(self.images.shape[1:], self.images) - 1
        return (self.images + radius * noise).clamp(0, 1)

    def climb(self, start: Tensor, loss: Loss | None = None) -> Tensor:
        """Steps from `start`, each back into the ball."""
        now, length = start, _WAY / self.steps * self.threat.radius
        for _ in range(self.steps):
            now = self.threat.project(now + length * self.ascent(now, loss), self.images)
        return now


Craft = Callable[[Crafting], Tensor]


@dataclass(frozen=True)
class Way:
    """A way of adversarial training.

    Attributes:
        name: What the option ``adversarial`` calls it.
        title: In text.
        craft: Attacks a batch.
        norms: Threats that it is made for.
        iterates: Whether it has as many steps as one likes.
        paired: Whether the network learns from the images as they are, too, and is to say the same of both.
    """

    name: str
    title: str
    craft: Craft
    norms: tuple[str, ...] = ("linf", "l2")
    iterates: bool = False
    paired: bool = False

    def passes(self, steps: int) -> tuple[int, int]:
        """Forward and backward passes of a training step; plain training has one of each."""
        crafting = steps if self.iterates else 1
        return crafting + (3 if self.paired else 1), crafting + (2 if self.paired else 1)


_WAYS: dict[str, Way] = {}


def _way(name: str, title: str, **options: Any) -> Callable[[Craft], Craft]:
    def noted(craft: Craft) -> Craft:
        _WAYS[name] = Way(name, title, craft, **options)
        return craft

    return noted


def ways() -> dict[str, Way]:
    """Every way of adversarial training, by name."""
    return dict(_WAYS)


def way_named(name: str) -> Way:
    """The way of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in _WAYS:
        raise ValueError(unknown("adversarial training", name, ["none", *_WAYS]))
    return _WAYS[name]


@_way("n-fgsm", "N-FGSM", norms=("linf",))
def n_fgsm(crafting: Crafting) -> Tensor:
    """Noise of ±2ε, then a step of ε, not clipped back into the ball (de Jorge et al., 2022)."""
    radius = crafting.threat.radius
    noisy = crafting.noise(2 * radius)
    return (noisy + radius * crafting.ascent(noisy)).clamp(0, 1)


@_way("fgsm-rs", "FGSM-RS", norms=("linf",))
def fgsm_rs(crafting: Crafting) -> Tensor:
    """Noise of ±ε, then a step of 1.25 ε, back into the ball (Wong et al., 2020)."""
    radius = crafting.threat.radius
    noisy = crafting.noise(radius)
    return crafting.threat.project(noisy + 1.25 * radius * crafting.ascent(noisy), crafting.images)


@_way("fgsm", "FGSM without noise")
def fgsm(crafting: Crafting) -> Tensor:
    """A step of ε from the image, away from the class that the network finds (Kurakin et al., 2017).

    By the true class the step would tell it to the network, which then learns to read it off: label leaking.
    """

    def found(logits: Tensor, targets: Tensor) -> Tensor:
        return crafting.loss(logits, logits.detach().argmax(1))

    step = crafting.threat.radius * crafting.ascent(crafting.images, found)
    return crafting.threat.project(crafting.images + step, crafting.images)


@_way("pgd", "PGD", iterates=True)
def pgd(crafting: Crafting) -> Tensor:
    """Steps from a random image of the ball (Madry et al., 2018)."""
    return crafting.climb(crafting.threat.start(crafting.images, crafting.draws))


@_way("trades", "TRADES", iterates=True, paired=True)
def trades(crafting: Crafting) -> Tensor:
    """Steps that make the network contradict itself most, whatever the label (Zhang et al., 2019)."""
    images = crafting.images
    with torch.no_grad():
        clean = crafting.forward(images)
    start = images + _NOISE * crafting.draws.normal(images.shape[1:], images)
    return crafting.climb(
        crafting.threat.project(start, images), lambda logits, targets: divergence(clean, logits)
    )


def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the classes' probabilities, in nats: (B, K) twice to the mean."""
    return F.kl_div(attacked.log_softmax(1), clean.log_softmax(1), reduction="batchmean", log_target=True)


def adversarial_loss(way: Way, crafting: Crafting, network: nn.Module, beta: float) -> Tensor:
    """The loss of a batch that is attacked first.

    Args:
        way: how.
        crafting: the batch, and what is raised.
        network: what is attacked; it is in evaluation mode and its weights get no gradients meanwhile.
        beta: weight of the divergence, where the way pairs images.
    """
    with _fixed(network), _wide(crafting.images.device):
        attacked = way.craft(crafting).detach()
    if not way.paired:
        return crafting.loss(crafting.forward(attacked), crafting.targets)
    clean = crafting.forward(crafting.images)
    apart = divergence(clean, crafting.forward(attacked))
    return crafting.loss(clean, crafting.targets) + beta * apart


@contextmanager
def _fixed(network: nn.Module) -> Iterator[None]:
    """Evaluation mode: statistics stay, nothing is dropped; and no gradients for the weights."""
    training = [module for module in network.modules() if module.training]
    wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.eval()
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in wanted:
            parameter.requires_grad_(True)


def _wide(device: torch.device) -> Any:
    """Without float16, in which small gradients of images are 0; bfloat16 has float32's range."""
    kind = device.type
    half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
    return torch.autocast(kind, enabled=False) if half else nullcontext()
