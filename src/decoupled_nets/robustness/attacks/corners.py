"""Random corners of the ball: what chance alone breaks."""

from __future__ import annotations

from torch import Tensor, nn

from ..draws import Draws, keys_of
from ..threat import Threat
from ..victim import Victim
from . import Attacked, attack
from ._search import Search


@attack("corners", "20 random corners", white=False, tries=20)
def corners(
    model: nn.Module | Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    tries: int = 20,
    seed: int = 0,
) -> Attacked:
    """Random changes of the whole radius: the first that the network takes for another class.

    Args:
        model: as in :func:`~decoupled_nets.robustness.attacks.fgsm.fgsm`, like images, labels and threat.
        images: (B, C, H, W).
        labels: (B,).
        threat: norm and radius; for L2 the changes have random signs and equal size.
        tries: changes tried of each image.
        seed: of the changes.

    Raises:
        ValueError: there is no try, or the network is not as it must be.
    """
    if tries < 1:
        raise ValueError(f"tries = {tries} received; needed: at least 1")
    victim, search = Victim.of(model), Search(images, labels)
    draws = Draws(keys_of(images), "corners", seed)
    now = images
    for i in range(1, tries + 1):
        if not len(search):
            break
        signs = draws.signs(images.shape[1:], search.origin)
        now = threat.project(search.origin + threat.radius * threat.ascent(signs), search.origin)
        (now,) = search.broke(now, victim.predict(now) != search.labels, i, draws=[draws])
    return search.end(now)
