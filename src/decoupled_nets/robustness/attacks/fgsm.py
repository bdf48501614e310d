"""FGSM: one signed gradient step."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from . import attack
from ._gradient import check_radius, gradient


@attack("FGSM")
def fgsm(
    model: nn.Module, images: Tensor, labels: Tensor, radius: float, *, generator: Generator | None = None
) -> Tensor:
    """One step of size `radius` along the sign of the loss's gradient (Goodfellow et al., 2015).

    Args:
        model: from images (B, C, H, W) with pixels in [0, 1] to logits; call ``model.eval()`` before.
        images: (B, C, H, W).
        labels: (B,).
        radius: largest change of a pixel, in [0, 1].
        generator: not used: nothing is random.

    Returns:
        Images within `radius` of the given ones and within [0, 1].

    Raises:
        ValueError: `radius` is outside [0, 1].
    """
    check_radius(radius)
    return (images + radius * gradient(model, images, labels).sign()).clamp(0, 1)
