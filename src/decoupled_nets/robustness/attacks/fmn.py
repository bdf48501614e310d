"""FMN: the smallest change, by a radius that shrinks where the network is wrong and else grows."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from .._rows import length, spread, total
from ..hyperplane import between
from ..losses import margin
from ..threat import Threat
from ..victim import Victim
from . import Attacked, attack
from ._nearest import Nearest
from ._search import Search, check_steps

_HALVINGS = 12


@attack("fmn", "FMN")
def fmn(
    model: nn.Module | Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    steps: int = 100,
    seed: int = 0,
) -> Attacked:
    """Fast Minimum-Norm attack, until a change within the radius is found; see :func:`minimum`.

    Args:
        model: as in :func:`~decoupled_nets.robustness.attacks.fgsm.fgsm`, like images, labels and threat.
        images: (B, C, H, W).
        labels: (B,).
        threat: norm and radius.
        steps: gradient steps.
        seed: not used: nothing is random.

    Raises:
        ValueError: an option is out of range, or the network is not as it must be.
    """
    search = Search(images, labels)
    _search(Victim.of(model), search, threat, steps, threat.radius, enough=threat.radius)
    return search.end(search.origin)


def minimum(
    model: nn.Module | Victim,
    images: Tensor,
    labels: Tensor,
    norm: str = "linf",
    *,
    steps: int = 100,
    limit: float | None = None,
) -> Nearest:
    """The smallest change that is found for every image: one search gives accuracy at every radius.

    Fast Minimum-Norm attack (Pintor et al., 2021) on the margin; then, along the line to the image, to the
    boundary.

    Args:
        model: as in :func:`~decoupled_nets.robustness.attacks.fgsm.fgsm`, like images and labels.
        images: (B, C, H, W).
        labels: (B,).
        norm: ``linf`` or ``l2``.
        steps: gradient steps.
        limit: how far to look; by default 0.5 for L∞, and for L2 half the diagonal of the box: so far away
            every image can become grey.

    Raises:
        ValueError: an option is out of range, or the network is not as it must be.
    """
    if limit is not None and not 0 < limit < math.inf:
        raise ValueError(f"limit = {limit} received; needed: a positive number, or None")
    threat, victim = Threat(norm, "0"), Victim.of(model)
    far = limit if limit is not None else 0.5 if norm == "linf" else 0.5 * math.sqrt(images[0].numel())
    nearest = _search(victim, Search(images, labels), threat, steps, far, enough=-1)
    return _along(victim, nearest, images, labels, threat)


@dataclass
class _Rows:
    """What the search knows of each image, (A, ...)."""

    now: Tensor
    radius: Tensor
    best: Tensor


def _search(
    victim: Victim, search: Search, threat: Threat, steps: int, limit: float, enough: float
) -> Nearest:
    """Through all steps; images for which a change of at most `enough` is found leave."""
    check_steps(steps)
    nearest = Nearest.of(search.origin, torch.zeros_like(search.labels, dtype=torch.bool))
    start = search.origin
    never = start.new_full((len(start),), math.inf, dtype=torch.float64)
    rows = _Rows(start, torch.zeros_like(never), never)
    for i in range(steps + 1):
        if not len(search):
            break
        logits, losses, slope = victim.gradient(rows.now, margin, search.labels)
        wrong = logits.argmax(1) != search.labels
        distance = nearest.note(threat, search.place, rows.now, search.origin, wrong)
        rows.best = torch.minimum(rows.best, distance)
        every = [getattr(rows, field.name) for field in fields(rows)]
        _, losses, slope, wrong, *every = search.broke(
            rows.now, distance <= enough, i, losses, slope, wrong, *every
        )
        rows = _Rows(*every)
        _step(rows, search.origin, losses, slope, wrong, threat, limit, i / steps)
    return nearest


def _step(
    rows: _Rows, origin: Tensor, losses: Tensor, slope: Tensor, wrong: Tensor, threat: Threat, limit: float,
    done: float,
) -> None:  # fmt: skip
    """The radius, then a step within it; both change less and less. `done`: the share of the steps."""
    falling = (1 + math.cos(math.pi * done)) / 2
    shrink, step = 0.001 + 0.049 * falling, 0.01 + 0.99 * falling
    # To the boundary of the network as if it were linear: by the norm that is dual to the threat's.
    wide = slope.double()
    dual = total(wide.abs()) if threat.norm == "linf" else length(wide)
    ahead = threat.distance(rows.now, origin) + losses.double().abs() / dual.clamp(min=1e-300)
    # Beyond the boundary, not ever nearer to it, and never back while nothing is found.
    ahead = torch.maximum(ahead, rows.radius) * (1 + shrink)
    nearer = torch.minimum(rows.radius * (1 - shrink), rows.best)
    further = torch.where(rows.best.isfinite(), rows.radius * (1 + shrink), ahead)
    rows.radius = torch.where(wrong, nearer, further).clamp(max=limit)
    change = rows.now + step * Threat("l2", "0").ascent(slope) - origin
    radius = spread(rows.radius.to(change.dtype), change)
    if threat.norm == "linf":
        change = torch.minimum(torch.maximum(change, -radius), radius)
    else:
        change = change * (radius / spread(length(change), change).clamp(min=1e-12)).clamp(max=1)
    rows.now = (origin + change).clamp(0, 1)


def _along(victim: Victim, nearest: Nearest, images: Tensor, labels: Tensor, threat: Threat) -> Nearest:
    """From what was found towards the image, by halving, as far as the network stays wrong."""
    place = (nearest.distance.isfinite() & (nearest.distance > 0)).nonzero()[:, 0]
    if not len(place):
        return nearest
    origin, found = images[place], nearest.images[place].clone()
    right = nearest.distance.new_zeros(len(place))
    wrong = right + 1
    for _ in range(_HALVINGS):
        share = (right + wrong) / 2
        now = between(origin, found, share)
        out = victim.predict(now) != labels[place]
        nearest.note(threat, place, now, origin, out)
        right, wrong = torch.where(out, right, share), torch.where(out, share, wrong)
    return nearest
