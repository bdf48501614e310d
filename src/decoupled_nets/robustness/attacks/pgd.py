"""PGD: gradient steps in the ball."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..draws import Draws, keys_of
from ..losses import Loss, loss_named
from ..threat import Threat
from ..victim import Victim
from . import Attacked, attack
from ._search import Search


@attack("pgd", "PGD-10", steps=10)
@attack("pgd-margin", "PGD-100 × 5, margin", loss="margin", steps=100, restarts=5, step=0.25, falling=True)
@attack("pgd-ce", "PGD-100 × 5, cross-entropy", steps=100, restarts=5, step=0.25, falling=True)
@attack(
    "pgd-scaled", "PGD-100 × 5, scaled by margin", loss="scaled-ce", steps=100, restarts=5, step=0.25,
    falling=True,
)  # fmt: skip
def pgd(
    model: nn.Module | Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    loss: str | Loss = "ce",
    steps: int = 10,
    step: float | None = None,
    restarts: int = 1,
    start: str = "random",
    falling: bool = False,
    stop: bool = True,
    seed: int = 0,
) -> Attacked:
    """Steps along which a loss rises fastest, each back into the ball (Madry et al., 2018).

    Args:
        model: as in :func:`~decoupled_nets.robustness.attacks.fgsm.fgsm`, like images, labels and threat.
        images: (B, C, H, W).
        labels: (B,).
        threat: norm and radius.
        loss: what is raised, of :data:`~decoupled_nets.robustness.losses.LOSSES`, or a function.
        steps: gradient steps.
        step: length of each, as a share of the radius; by default 2.5 over the number of steps.
        restarts: starts for an image that is still right.
        start: ``random`` or ``image``.
        falling: let the length fall to zero by a cosine.
        stop: let an image go once it is broken; else go on to the end, for images that are tried on other
            networks.
        seed: of the random starts.

    Raises:
        ValueError: an option is out of range, or the network is not as it must be.
    """
    if steps < 1 or restarts < 1:
        raise ValueError(f"steps = {steps}, restarts = {restarts} received; needed: at least 1 of each")
    if start not in ("random", "image"):
        raise ValueError(f"start = {start!r} received; needed: 'random' or 'image'")
    victim, search, raised = Victim.of(model), Search(images, labels, stop=stop), loss_named(loss)
    share = 2.5 / steps if step is None else step
    keys = keys_of(images)
    best, most = images.clone(), images.new_full((len(images),), -math.inf, dtype=torch.float64)
    for restart in range(restarts):
        if not len(search):
            break
        draws = Draws(
            keys[search.place.cpu()], f"pgd {loss if isinstance(loss, str) else ''} {restart}", seed
        )
        now = threat.start(search.origin, draws) if start == "random" else search.origin
        for i in range(steps):
            logits, losses, gradient = victim.gradient(now, raised, search.labels)
            best, most = _better(best, most, now, losses)
            broken = logits.argmax(1) != search.labels
            now, gradient, best, most = search.broke(
                now, broken, restart * steps + i, gradient, best, most, logits=logits
            )
            if not len(search):
                break
            length = share * (math.cos(math.pi * i / steps) + 1) / 2 if falling else share
            now = threat.project(now + length * threat.radius * threat.ascent(gradient), search.origin)
        else:
            logits = victim.logits(now)
            best, most = _better(best, most, now, raised(logits, search.labels))
            broken = logits.argmax(1) != search.labels
            now, best, most = search.broke(now, broken, (restart + 1) * steps, best, most, logits=logits)
    return search.end(best)


def _better(best: Tensor, most: Tensor, now: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    """The images of the largest loss so far."""
    up = losses > most
    return torch.where(up[:, None, None, None], now, best), torch.where(up, losses.double(), most)
