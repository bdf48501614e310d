"""FGSM: one signed gradient step."""

from __future__ import annotations

from torch import Tensor, nn

from ..losses import ce
from ..threat import Threat
from ..victim import Victim
from . import Attacked, attack
from ._search import Search


@attack("fgsm", "FGSM")
def fgsm(
    model: nn.Module | Victim, images: Tensor, labels: Tensor, threat: Threat, *, seed: int = 0
) -> Attacked:
    """One step of the whole radius along which the cross-entropy rises fastest (Goodfellow et al., 2015).

    It overstates: of a network whose loss is curved it leaves much that a few more steps break.

    Args:
        model: from images (B, C, H, W) with pixels in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W).
        labels: (B,).
        threat: norm and radius.
        seed: not used: nothing is random.

    Raises:
        ValueError: the network is not as it must be.
    """
    victim, search = Victim.of(model), Search(images, labels)
    _, _, gradient = victim.gradient(images, ce, labels)
    now = threat.project(images + threat.radius * threat.ascent(gradient), images)
    (now,) = search.broke(now, victim.predict(now) != labels, 1)
    return search.end(now)
