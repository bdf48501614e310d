"""APGD-T: APGD towards one class after the other."""

from __future__ import annotations

from torch import Tensor, nn

from ..draws import Draws, keys_of
from ..losses import rivals, targeted_dlr
from ..threat import Threat
from ..victim import Victim
from . import Attacked, attack
from ._search import Best, Search, check_steps
from .apgd import Run, surface


@attack("apgd-t", "APGD-T")
def apgd_t(
    model: nn.Module | Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    steps: int = 100,
    targets: int = 9,
    restarts: int = 1,
    stop: bool = True,
    seed: int = 0,
) -> Attacked:
    """Auto-PGD on the targeted difference of logits ratio (Croce and Hein, 2020), as in AutoAttack.

    It breaks what untargeted losses leave, and does not depend on the logits' scale.

    Args:
        model: as in :func:`~decoupled_nets.robustness.attacks.fgsm.fgsm`, like images, labels and threat.
        images: (B, C, H, W).
        labels: (B,).
        threat: norm and radius.
        steps: gradient steps of a run.
        targets: classes that are tried, by the falling logits of the image itself; all others if there are
            fewer. Below four classes the loss is a difference of two logits.
        restarts: runs towards each of them.
        stop: let an image go once it is broken; else go on to the end.
        seed: of the random starts.

    Raises:
        ValueError: an option is out of range, or the network is not as it must be.
    """
    check_steps(steps, targets, restarts)
    victim, search = Victim.of(model), Search(images, labels, stop=stop)
    best, keys = Best(images), keys_of(images)
    aims = rivals(victim.logits(images), labels, targets)
    runs = [(rank, restart) for rank in range(aims.shape[1]) for restart in range(restarts)]
    for i, (rank, restart) in enumerate(runs):
        if not len(search):
            break
        draws = Draws(keys[search.place.cpu()], f"apgd-t {rank} {restart}", seed)
        first = surface(threat, search.origin, draws)
        run = Run(victim, search, threat, targeted_dlr, first, aims[search.place, rank])
        found = run.through(steps, i * steps)
        best.note(search.place, *found)
    return search.end(best.images[search.place])
