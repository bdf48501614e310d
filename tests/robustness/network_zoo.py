"""Small networks that are known to be honest, or to mislead attacks: what the checks are held to.

All of them see images of 8 x 8 pixels of four kinds, which a network learns in a second.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import decoupled_nets as dn

CLASSES, SIZE, COUNT = 4, 8, 48
THREAT = "linf:0.06"


def pictures(count: int, classes: int = CLASSES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth patterns, one a class, weak in each pixel, with noise: (B, 1, 8, 8) and (B,)."""
    generator = torch.Generator().manual_seed(1234)
    kinds = torch.randn(classes, 2, 4, 4, generator=generator)
    kinds = F.interpolate(kinds, SIZE, mode="bilinear")
    kinds = kinds / kinds.square().mean((2, 3), keepdim=True).sqrt()
    generator.manual_seed(seed)
    labels = torch.arange(count) % classes
    variant = torch.randint(2, (count,), generator=generator)
    strength = 0.08 + 0.1 * torch.rand(count, 1, 1, 1, generator=generator)
    noise = 0.1 * torch.randn(count, 1, SIZE, SIZE, generator=generator)
    images = 0.5 + strength * kinds[labels, variant][:, None] + noise
    return images.clamp(0, 1), labels


def plain(normed: bool = True, relu: bool = True, width: int = 12, classes: int = CLASSES) -> nn.Module:
    """Two convolutions and a linear layer."""

    def block(into: int, out: int) -> list[nn.Module]:
        layers: list[nn.Module] = [nn.Conv2d(into, out, 3, stride=2, padding=1)]
        layers += [nn.BatchNorm2d(out)] if normed else []
        return layers + ([nn.ReLU()] if relu else [])

    return nn.Sequential(
        Centred(), *block(1, width), *block(width, width), nn.Flatten(), nn.Linear(4 * width, classes)
    )


def decoupled(operator: str, width: int = 12, **options: Any) -> nn.Module:
    """The same with decoupled convolutions, and a plain linear layer at the end."""
    conv: dict[str, Any] = {"stride": 2, "padding": 1, "operator": operator, **options}
    return nn.Sequential(
        Centred(), dn.DecoupledConv2d(1, width, 3, **conv), dn.DecoupledConv2d(width, width, 3, **conv),
        nn.Flatten(), nn.Linear(4 * width, CLASSES),
    )  # fmt: skip


def dynamic() -> nn.Module:
    """A network with decoupled dynamic filters."""
    return nn.Sequential(
        Centred(), nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(), dn.DDF2d(12),
        nn.BatchNorm2d(12), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(48, CLASSES),
    )  # fmt: skip


class Centred(nn.Module):
    """What normalises the pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.5) * 8


def train(
    model: nn.Module, *, classes: int = CLASSES, epochs: int = 40, noise: float = 0.0, radius: float = 0.0,
    steps: int = 0, rate: float = 3e-3, seed: int = 0,
) -> nn.Module:  # fmt: skip
    """Trained on 512 pictures; with `steps`, on what that many gradient steps make of them."""
    images, labels = pictures(512, classes, seed=1)
    optimiser = torch.optim.Adam(model.parameters(), rate)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(epochs):
        for some in torch.randperm(len(images), generator=generator).split(64):
            given, truth = images[some], labels[some]
            given = given + noise * torch.randn(given.shape, generator=generator)
            if steps:
                given = _stepped(model, given, truth, radius, steps)
            optimiser.zero_grad()
            F.cross_entropy(model(given), truth).backward()
            optimiser.step()
    return model.eval()


def _stepped(model: nn.Module, images: Tensor, labels: Tensor, radius: float, steps: int) -> Tensor:
    now, length = images, radius if steps == 1 else 2.5 * radius / steps
    for _ in range(steps):
        now = now.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(now), labels), now)
        now = now.detach() + length * gradient.sign()
        now = torch.minimum(torch.maximum(now, images - radius), images + radius).clamp(0, 1)
    return now


HONEST: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: train(nn.Sequential(Centred(), nn.Flatten(), nn.Linear(64, CLASSES))),
    "cnn": lambda: train(plain()),
    "cnn-plain": lambda: train(plain(normed=False)),
    "cnn-linear": lambda: train(plain(normed=False, relu=False)),
    "tanh-cos": lambda: train(decoupled("tanh-cos")),
    "ball-cos": lambda: train(decoupled("ball-cos")),
    "sphere-cos": lambda: train(decoupled("sphere-cos")),
    "tanh-flat": lambda: train(decoupled("tanh-cos", radius=1e-3)),
    "seg-sqcos": lambda: train(decoupled("seg-sqcos")),
    "ddf": lambda: train(dynamic()),
    "adversarial": lambda: train(plain(), radius=0.06, steps=5),
    "two": lambda: train(plain(classes=2), classes=2),
}  # fmt: skip


@cache
def honest(name: str) -> nn.Module:
    """The honest network of that name, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HONEST[name]()


class Around(nn.Module):
    """Something around a network: before it and behind it."""

    def __init__(
        self, model: nn.Module, before: Callable[[Tensor], Tensor] | None = None,
        behind: Callable[[Tensor], Tensor] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.before, self.behind = model, before or _same, behind or _same
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.behind(self.model(self.before(images)))


def _same(values: Tensor) -> Tensor:
    return values


class Flipped(torch.autograd.Function):
    """The same with the gradient's sign turned round."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


class Winners(nn.Module):
    """k-WTA (Xiao et al., 2020): the largest tenth of all activations of an image, the others 0."""

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        flat = values.flatten(1)
        least = flat.topk(max(int(self.share * flat.shape[1]), 1), dim=1).values[:, -1:]
        return torch.where(flat >= least, flat, 0).reshape_as(values)


def winners(width: int = 24, share: float = 0.05) -> nn.Module:
    """A network in which a few units win, which jumps at every small step."""
    return nn.Sequential(
        Centred(), nn.Conv2d(1, width, 3, padding=1), Winners(share),
        nn.Conv2d(width, width, 3, stride=2, padding=1), Winners(share),
        nn.Flatten(), nn.Linear(16 * width, CLASSES),
    )  # fmt: skip


def binary() -> nn.Module:
    """Every pixel is a patch of its own: with so small a radius only its sign is left, and no gradient."""
    pixels = dn.DecoupledConv2d(1, 1, 1, bias=False, operator="tanh-cos", radius=1e-3, eps=1e-12)
    return nn.Sequential(Centred(), pixels, *plain()[1:])


def wide(width: int = 128) -> nn.Module:
    """Three linear layers: large enough to overfit to one step."""
    return nn.Sequential(
        Centred(), nn.Flatten(), nn.Linear(SIZE * SIZE, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, CLASSES),
    )  # fmt: skip


class Wavy(nn.Module):
    """Ripples over every pixel, a third of the radius high: what a gradient says holds for a sixth of it."""

    def forward(self, images: Tensor) -> Tensor:
        return images + 0.019 * torch.sin(314 * images)


def of_the_batch() -> nn.Module:
    """Batch statistics in evaluation."""
    model = copy.deepcopy(honest("cnn"))
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    return model


def _behind(behind: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Around(copy.deepcopy(honest("cnn")), behind=behind)


def _before(before: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Around(copy.deepcopy(honest("cnn")), before=before)


def dropping() -> nn.Module:
    """Dropout that is never off."""
    inner = copy.deepcopy(honest("cnn"))
    *first, last = inner
    return nn.Sequential(*first, Around(last, before=lambda x: F.dropout(x, 0.3, training=True))).eval()


def overfitted() -> nn.Module:
    """Trained on single steps until it knows these alone; at a low rate last, where processors agree."""
    steep = train(wide(), radius=0.2, steps=1, epochs=150, rate=5e-3)
    return train(steep, radius=0.2, steps=1, epochs=10, rate=5e-4)


#: A network, and the honest one behind it if there is one.
LIARS: dict[str, Callable[[], nn.Module]] = {
    "large": _behind(lambda z: 1e4 * z),
    "tiny": _behind(lambda z: 1e-4 * z),
    "shifted": _behind(lambda z: z + 1e6),
    "softmax": _behind(lambda z: z.softmax(1)),
    "detached": _before(lambda x: x.detach()),
    "rounded": _before(lambda x: (15 * x).round() / 15),
    "noisy": _before(lambda x: x + 0.05 * torch.randn_like(x)),
    "dropping": dropping,
    "winners": lambda: train(winners()),
    "binary": lambda: train(binary()),
    "overfitted": overfitted,
    "flipped": _before(Flipped.apply),
    "batch": of_the_batch,
    "wavy": _before(Wavy()),
}  # fmt: skip


@cache
def liar(name: str) -> nn.Module:
    """The misleading network of that name, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LIARS[name]()
