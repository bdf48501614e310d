"""What attacks raise: one number an image, from logits in float32 or wider.

All of them are positive, or larger, where the image is further from its class. ``ce`` depends on the scale of
the logits (in float32 its gradient is exactly zero once the true class leads by about 17); of the others the
direction of the gradient does not. The values of ``scaled-margin`` and ``scaled-ce`` at two images do not
compare: what they are divided by is held fixed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .._registry import unknown

Loss = Callable[[Tensor, Tensor], Tensor]
_LEAST = 1e-12


def ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy: (B, K) and (B,) to (B,)."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest other logit less the true one; positive: misclassified (Carlini and Wagner, 2017)."""
    true = logits.gather(1, labels[:, None])[:, 0]
    return others(logits, labels).amax(1) - true


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio: the margin over the gap between first and third (Croce and Hein, 2020).

    With two classes there is no third, and it is the margin alone: attacks compare its values of one image,
    and take the gradient's direction, so that the scale of the logits does not count.
    """
    if logits.shape[1] < 3:
        return margin(logits, labels)
    first = logits.sort(dim=1, descending=True).values
    return margin(logits, labels) / (first[:, 0] - first[:, 2] + _LEAST)


def scaled_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The margin over its own size, held fixed: gradients of like size at every scale of the logits."""
    value = margin(logits, labels)
    return value / (value.detach().abs() + _LEAST)


def scaled_ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits divided by the margin's size, held fixed (MIFPE; Yu and Xu, 2023)."""
    size = margin(logits, labels).detach().abs()[:, None]
    return ce(logits / (size + _LEAST), labels)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Towards a class: its logit less the true one over the gap of the first to the third and fourth.

    Where there are fewer than four classes it is the difference alone, see :func:`dlr`.

    Args:
        logits: (B, K).
        labels: (B,).
        targets: (B,).
    """
    ahead = difference(logits, labels, targets)
    if logits.shape[1] < 4:
        return ahead
    first = logits.sort(dim=1, descending=True).values
    return ahead / (first[:, 0] - (first[:, 2] + first[:, 3]) / 2 + _LEAST)


def difference(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The logit of a class less that of the true one: (B, K), (B,) and (B,) to (B,)."""
    true, target = (logits.gather(1, which[:, None])[:, 0] for which in (labels, targets))
    return target - true


def rivals(logits: Tensor, labels: Tensor, most: int) -> Tensor:
    """The other classes by falling logits: (B, K) and (B,) to (B, min(most, K - 1)) int64."""
    order = others(logits, labels).sort(dim=1, descending=True, stable=True).indices
    return order[:, : min(most, logits.shape[1] - 1)]


def others(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits with the true class's at minus infinity."""
    return logits.scatter(1, labels[:, None], -torch.inf)


LOSSES: dict[str, Loss] = {
    "ce": ce, "margin": margin, "dlr": dlr, "scaled-margin": scaled_margin, "scaled-ce": scaled_ce,
}  # fmt: skip


def loss_named(name: str | Loss) -> Loss:
    """The loss of that name, or the one that is given.

    Raises:
        ValueError: there is none.
    """
    if callable(name):
        return name
    if name not in LOSSES:
        raise ValueError(unknown("loss", name, list(LOSSES)))
    return LOSSES[name]
