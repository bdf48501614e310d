"""BIM: small signed gradient steps from the image itself."""

from __future__ import annotations

from torch import Tensor, nn

from ..threat import Threat
from ..victim import Victim
from . import Attacked, attack
from .pgd import pgd


@attack("bim", "BIM, 10 steps of 1/8", steps=10, step=1 / 8)
@attack("bim-cleverhans", "BIM, 10 steps of 1/6", steps=10, step=1 / 6)
def bim(
    model: nn.Module | Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    steps: int = 10,
    step: float = 1 / 8,
    seed: int = 0,
) -> Attacked:
    """Gradient steps without a random start (Kurakin et al., 2017), ``bim`` with steps of 1/255 at 8/255.

    Args:
        model: as in :func:`~decoupled_nets.robustness.attacks.fgsm.fgsm`, like images, labels and threat.
        images: (B, C, H, W).
        labels: (B,).
        threat: norm and radius.
        steps: gradient steps.
        step: length of each, as a share of the radius.
        seed: not used: nothing is random.

    Raises:
        ValueError: an option is out of range, or the network is not as it must be.
    """
    return pgd(model, images, labels, threat, steps=steps, step=step, start="image", falling=False)
