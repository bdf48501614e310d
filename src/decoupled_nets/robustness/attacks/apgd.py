"""APGD: gradient steps with momentum whose length falls where they no longer help."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from .._rows import spread
from ..draws import Draws, keys_of
from ..losses import loss_named
from ..threat import Threat
from ..victim import Victim
from . import Attacked, attack
from ._search import Best, Search, check_steps

AimedLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Losses whose values at two images compare: the steps' length depends on whether they rise.
COMPARED = ("ce", "dlr", "margin")
_MOMENTUM = 0.25
_ENOUGH_RISES = 0.75


@attack("apgd-ce", "APGD-CE")
@attack("apgd-dlr", "APGD-DLR", loss="dlr")
@attack("apgd-margin", "APGD, margin", loss="margin")
@attack("apgd-ce-50", "APGD-CE, 50 steps", steps=50)
@attack("apgd-margin-50", "APGD, margin, 50 steps", loss="margin", steps=50)
def apgd(
    model: nn.Module | Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    loss: str = "ce",
    steps: int = 100,
    restarts: int = 1,
    start: Tensor | None = None,
    stop: bool = True,
    seed: int = 0,
) -> Attacked:
    """Auto-PGD (Croce and Hein, 2020), to the step as in AutoAttack.

    Args:
        model: as in :func:`~decoupled_nets.robustness.attacks.fgsm.fgsm`, like images, labels and threat.
        images: (B, C, H, W).
        labels: (B,).
        threat: norm and radius.
        loss: what is raised: ``ce``, ``dlr`` or ``margin``. Of cross-entropy nothing is left in float32 where
            logits are large; the others do not depend on their scale.
        steps: gradient steps of a run.
        restarts: runs for an image that is still right.
        start: (B, C, H, W), where the first run starts; by default on the ball's surface at random.
        stop: let an image go once it is broken; else go on to the end, for images that are tried on other
            networks.
        seed: of the random starts.

    Raises:
        ValueError: an option is out of range, or the network is not as it must be.
    """
    check_steps(steps, restarts)
    if start is not None and start.shape != images.shape:
        raise ValueError(
            f"start of shape {tuple(start.shape)} received; needed: one image for each, {tuple(images.shape)}"
        )
    if loss not in COMPARED:
        loss_named(loss)
        raise ValueError(
            f"loss = {loss!r} received; needed: one of {', '.join(COMPARED)}, whose values compare"
        )
    raised, victim, search = loss_named(loss), Victim.of(model), Search(images, labels, stop=stop)
    best, keys = Best(images), keys_of(images)

    def aimless(logits: Tensor, truth: Tensor, aims: Tensor) -> Tensor:
        return raised(logits, truth)

    for restart in range(restarts):
        if not len(search):
            break
        draws = Draws(keys[search.place.cpu()], f"apgd {loss} {restart}", seed)
        first = surface(threat, search.origin, draws)
        if start is not None and restart == 0:
            first = threat.project(start, search.origin)
        run = Run(victim, search, threat, aimless, first, search.labels)
        found = run.through(steps, restart * steps)
        best.note(search.place, *found)
    return search.end(best.images[search.place])


@dataclass
class _Rows:
    """What a run knows of each image that still stands, (A, ...)."""

    aims: Tensor
    now: Tensor
    before: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    most: Tensor
    last: Tensor
    rises: Tensor
    share: Tensor
    checked: Tensor
    halved: Tensor


class Run:
    """Steps from one start.

    Args:
        victim: the network.
        search: the images that still stand.
        threat: norm and radius.
        loss: from logits, labels and aims to (A,).
        start: (A, C, H, W), within the ball.
        aims: (A,), further numbers that the loss takes, such as target classes.
    """

    def __init__(
        self, victim: Victim, search: Search, threat: Threat, loss: AimedLoss, start: Tensor, aims: Tensor
    ) -> None:
        self.victim, self.search, self.threat, self.loss = victim, search, threat, loss
        zero = start.new_zeros(len(start))
        self.rows = _Rows(
            aims, start, start, start, start, start,
            most=zero - math.inf,
            # AutoAttack compares the first step's loss with 0, and so do we, to go its way.
            last=zero, rises=zero, share=zero + 2, checked=zero,
            halved=torch.ones_like(zero, dtype=torch.bool),
        )  # fmt: skip

    def through(self, steps: int, number: int) -> tuple[Tensor, Tensor]:
        """All the steps; the images (A, C, H, W) of the largest loss that still stand, and the loss.

        Args:
            steps: gradient steps.
            number: of the start, for the record of what broke an image.
        """
        self._look(number)
        self.rows.checked = self.rows.most
        checks = checkpoints(steps)
        for i in range(steps):
            if not len(self.search):
                break
            self._step(0 if i == 0 else _MOMENTUM)
            losses = self._look(number + i + 1)
            rows = self.rows
            rows.rises, rows.last = rows.rises + (losses > rows.last), losses
            if i + 1 in checks:
                self._check(checks[i + 1])
        return self.rows.best, self.rows.most

    def _look(self, number: int) -> Tensor:
        """Loss and gradient where the images are; those that are broken leave."""
        rows, search = self.rows, self.search
        logits, losses, rows.gradient = self.victim.gradient(rows.now, self.loss, search.labels, rows.aims)
        up = losses > rows.most
        wide = spread(up, rows.now)
        rows.best = torch.where(wide, rows.now, rows.best)
        rows.best_gradient = torch.where(wide, rows.gradient, rows.best_gradient)
        rows.most = torch.where(up, losses, rows.most)
        broken = logits.argmax(1) != search.labels
        every = [getattr(rows, field.name) for field in fields(rows)]
        _, losses, *every = search.broke(rows.now, broken, number, losses, *every, logits=logits)
        self.rows = _Rows(*every)
        return losses

    def _step(self, momentum: float) -> None:
        rows, threat, origin = self.rows, self.threat, self.search.origin
        length = spread(rows.share * threat.radius, rows.now)
        there = threat.project(rows.now + length * threat.ascent(rows.gradient), origin)
        onward = rows.now + (there - rows.now) * (1 - momentum) + (rows.now - rows.before) * momentum
        rows.before, rows.now = rows.now, threat.project(onward, origin)

    def _check(self, since: int) -> None:
        """Halve the length, and go back to the best, where the loss rose too seldom or nothing changed."""
        rows = self.rows
        stuck = ~rows.halved & (rows.checked >= rows.most)
        rows.halved = (rows.rises <= _ENOUGH_RISES * since) | stuck
        rows.checked, rows.rises = rows.most, torch.zeros_like(rows.rises)
        rows.share = torch.where(rows.halved, rows.share / 2, rows.share)
        wide = spread(rows.halved, rows.now)
        rows.now = torch.where(wide, rows.best, rows.now)
        rows.gradient = torch.where(wide, rows.best_gradient, rows.gradient)


def surface(threat: Threat, images: Tensor, draws: Draws) -> Tensor:
    """A random image whose change has just the radius, then with pixels in [0, 1]: (B, C, H, W)."""
    if threat.norm == "linf":
        noise = 2 * draws.uniform(images.shape[1:], images) - 1
        noise = noise / spread(threat.length(noise).clamp(min=1e-12), noise)
    else:
        noise = threat.ascent(draws.normal(images.shape[1:], images))
    return threat.project(images + threat.radius * noise, images)


def checkpoints(steps: int) -> dict[int, int]:
    """After which steps the length is looked at, and how many steps after the last time.

    >>> list(checkpoints(100))
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    since, at, found = max(int(0.22 * steps), 1), 0, {}
    least, less = max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    while at + since <= steps:
        at += since
        found[at] = since
        since = max(since - less, least)
    return found
