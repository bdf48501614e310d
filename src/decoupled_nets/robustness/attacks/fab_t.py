"""FAB-T: to the boundary with one class after the other, and along it nearer to the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._rows import spread
from ..hyperplane import onto_hyperplane, value_at
from ..losses import difference, rivals
from ..threat import Threat
from ..victim import Victim
from . import Attacked, attack
from ._nearest import Nearest
from ._search import Search, check_steps

#: As in AutoAttack: the largest share of the image's own way to the boundary, how far to overshoot, and what
#: is left of the change when the search goes back.
_SHARE, _OVERSHOOT, _BACK = 0.1, 1.05, 0.9


@attack("fab-t", "FAB-T")
def fab_t(
    model: nn.Module | Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    steps: int = 100,
    targets: int = 9,
    seed: int = 0,
) -> Attacked:
    """Fast Adaptive Boundary attack, targeted (Croce and Hein, 2020), as in AutoAttack.

    It looks for the nearest image of another class; an image is broken once one within the radius is found.

    Args:
        model: as in :func:`~decoupled_nets.robustness.attacks.fgsm.fgsm`, like images, labels and threat.
        images: (B, C, H, W).
        labels: (B,).
        threat: norm and radius.
        steps: gradient steps towards each class.
        targets: classes that are tried, by the falling logits of the image itself; all others if fewer.
        seed: not used: nothing is random.

    Raises:
        ValueError: an option is out of range, or the network is not as it must be.
    """
    search = Search(images, labels)
    _search(Victim.of(model), search, threat, steps, targets, enough=threat.radius)
    return search.end(search.origin)


def fab_minimum(
    model: nn.Module | Victim,
    images: Tensor,
    labels: Tensor,
    norm: str = "linf",
    *,
    steps: int = 100,
    targets: int = 9,
) -> Nearest:
    """The nearest image of another class that FAB-T finds for every image, whatever its distance.

    Args:
        model: as in :func:`~decoupled_nets.robustness.attacks.fgsm.fgsm`, like images and labels.
        images: (B, C, H, W).
        labels: (B,).
        norm: ``linf`` or ``l2``.
        steps: gradient steps towards each class.
        targets: classes that are tried, as in :func:`fab_t`.

    Raises:
        ValueError: an option is out of range, or the network is not as it must be.
    """
    return _search(Victim.of(model), Search(images, labels), Threat(norm, "0"), steps, targets, enough=-1)


def _search(
    victim: Victim, search: Search, threat: Threat, steps: int, targets: int, enough: float
) -> Nearest:
    """Through all classes; images for which one is found at a distance of `enough` leave the search."""
    check_steps(steps, targets)
    logits = victim.logits(search.origin)
    aims = rivals(logits, search.labels, targets)
    wrong = logits.argmax(1) != search.labels
    nearest = Nearest.of(search.origin, wrong)
    search.broke(search.origin, wrong & (enough >= 0), 0)
    for rank in range(aims.shape[1]):
        now, aim = search.origin, aims[search.place, rank]
        for i in range(steps):
            if not len(search):
                break
            _, gap, slope = victim.gradient(now, difference, search.labels, aim)
            now = _step(now, search.origin, gap, slope, threat)
            wrong = victim.predict(now) != search.labels
            distance = nearest.note(threat, search.place, now, search.origin, wrong)
            now, aim, wrong = search.broke(now, distance <= enough, rank * steps + i + 1, aim, wrong)
            back = search.origin + _BACK * (now - search.origin)
            now = torch.where(spread(wrong, now), back, now)
    return nearest


def _step(now: Tensor, origin: Tensor, gap: Tensor, slope: Tensor, threat: Threat) -> Tensor:
    """To the hyperplane where the linear network changes its mind, from here and a little from the image."""
    gaps = torch.cat([gap.double(), value_at(now, origin, slope, gap)])
    ways = onto_hyperplane(torch.cat([now, origin]), torch.cat([slope, slope]), gaps, threat.norm)
    here, there = ways.chunk(2)
    near, far = (threat.length(way.double()).clamp(min=1e-8) for way in (here, there))
    share = spread((near / (near + far)).clamp(max=_SHARE).to(now.dtype), now)
    onward = (now + _OVERSHOOT * here) * (1 - share) + (origin + _OVERSHOOT * there) * share
    return onward.clamp(0, 1)
