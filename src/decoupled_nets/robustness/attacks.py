"""Two quick white-box attacks in pixel space: FGSM and PGD, L-infinity.

They are a first look. Neither excludes gradient masking, so neither supports a claim of robustness.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attack = Callable[[nn.Module, Tensor, Tensor, float], Tensor]


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, radius: float) -> Tensor:
    """One step of size `radius` along the sign of the loss's gradient (Goodfellow et al., 2015).

    Args:
        model: from images (B, C, H, W) with pixels in [0, 1] to logits; call ``model.eval()`` before.
        images: (B, C, H, W).
        labels: (B,).
        radius: largest change of a pixel, in [0, 1].

    Returns:
        Images within `radius` of the given ones and within [0, 1].

    Raises:
        ValueError: `radius` is outside [0, 1].
    """
    _check(radius)
    return (images + radius * _gradient(model, images, labels).sign()).clamp(0, 1)


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    radius: float,
    *,
    steps: int = 10,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`steps` signed gradient steps of 2.5 · radius / steps from a random start (Madry et al., 2018).

    Args:
        model: as in :func:`fgsm`, like images, labels and radius.
        images: (B, C, H, W).
        labels: (B,).
        radius: largest change of a pixel, in [0, 1].
        steps: gradient steps.
        generator: for the random start.

    Returns:
        Images within `radius` of the given ones and within [0, 1].

    Raises:
        ValueError: `radius` is outside [0, 1], or there are no steps.
    """
    _check(radius)
    if steps < 1:
        raise ValueError(f"steps = {steps} received; needed: at least 1")
    noise = torch.rand(images.shape, generator=generator).to(images) * 2 - 1
    attacked = (images + radius * noise).clamp(0, 1)
    low, high = (images - radius).clamp(min=0), (images + radius).clamp(max=1)
    for _ in range(steps):
        step = 2.5 * radius / steps * _gradient(model, attacked, labels).sign()
        attacked = torch.clamp(attacked + step, low, high)
    return attacked


def surviving(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, radius: float, *, batch_size: int = 250
) -> int:
    """How many images are classified correctly as they are and attacked; puts `model` into eval mode."""
    model.eval()
    count = 0
    for some, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        right = _predict(model, some) == truth
        some, truth = some[right], truth[right]
        if len(truth):
            count += int((_predict(model, attack(model, some, truth, radius)) == truth).sum())
    return count


def _gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(model(images).float(), labels, reduction="sum")
        return torch.autograd.grad(loss, images)[0]


@torch.no_grad()
def _predict(model: nn.Module, images: Tensor) -> Tensor:
    return model(images).argmax(1)


def _check(radius: float) -> None:
    if not 0 <= radius <= 1:
        raise ValueError(f"radius = {radius} received; needed: a number in [0, 1], as pixels are")
