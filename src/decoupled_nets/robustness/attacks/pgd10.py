"""PGD: signed gradient steps from a random start."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import attack
from ._gradient import check_radius, gradient


@attack("PGD-10")
def pgd10(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    radius: float,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """:func:`pgd` of ten steps."""
    return pgd(model, images, labels, radius, generator=generator)


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
        model: as in :func:`decoupled_nets.robustness.fgsm`, like images, labels and radius.
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
    check_radius(radius)
    if steps < 1:
        raise ValueError(f"steps = {steps} received; needed: at least 1")
    noise = torch.rand(images.shape, generator=generator).to(images) * 2 - 1
    attacked = (images + radius * noise).clamp(0, 1)
    low, high = (images - radius).clamp(min=0), (images + radius).clamp(max=1)
    for _ in range(steps):
        step = 2.5 * radius / steps * gradient(model, attacked, labels).sign()
        attacked = torch.clamp(attacked + step, low, high)
    return attacked
