"""Images that were made on another network."""

from __future__ import annotations

from torch import Tensor, nn

from ..victim import Victim
from . import Attacked
from ._search import Search


def transferred(model: nn.Module | Victim, images: Tensor, labels: Tensor, made: Tensor) -> Attacked:
    """Which images, changed by an attack on another network, this one takes for another class.

    The attack should have gone on after success (``stop=False``): what stops at the boundary of one network
    rarely crosses another's.

    Args:
        model: as in :func:`~decoupled_nets.robustness.attacks.fgsm.fgsm`, like images and labels.
        images: (B, C, H, W).
        labels: (B,).
        made: (B, C, H, W), the changed images.

    Raises:
        ValueError: there is not one changed image for each, or the network is not as it must be.
    """
    if made.shape != images.shape:
        raise ValueError(
            f"changed images of shape {tuple(made.shape)} received; needed: one for each image,"
            f" {tuple(images.shape)}"
        )
    search = Search(images, labels)
    (left,) = search.broke(made, Victim.of(model).predict(made) != labels, 0)
    return search.end(left)
