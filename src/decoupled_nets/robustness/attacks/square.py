"""Square: random squares, kept when they help; no gradient is used."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._rows import length, spread
from ..draws import Draws, keys_of
from ..losses import margin
from ..threat import Threat
from ..victim import Victim
from . import Attacked, attack
from ._search import Best, Search, check_steps

#: After so many queries the share of the image that is changed is halved.
HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
#: Draws for so many queries are made at once.
_AHEAD = 64
_BITS = 24


@attack("square", "Square", white=False)
@attack("square-20000", "Square, 20,000 queries × 3", white=False, queries=20_000, restarts=3)
def square(
    model: nn.Module | Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    queries: int = 5000,
    share: float = 0.8,
    restarts: int = 1,
    seed: int = 0,
) -> Attacked:
    """Square Attack (Andriushchenko et al., 2020) on the margin, with AutoAttack's schedule.

    Every image has squares of its own. They may lie anywhere, also at the right and the lower edge, and
    images need not be square.

    Args:
        model: as in :func:`~decoupled_nets.robustness.attacks.fgsm.fgsm`, like images, labels and threat.
        images: (B, C, H, W).
        labels: (B,).
        threat: norm and radius.
        queries: images that the network sees of each one in a run, after the start.
        share: of the image that a square covers at first.
        restarts: runs for an image that is still right.
        seed: of the squares.

    Raises:
        ValueError: an option is out of range, or the network is not as it must be.
    """
    check_steps(queries, restarts)
    if not 0 < share <= 1:
        raise ValueError(f"share = {share} received; needed: above 0, at most 1")
    victim, search = Victim.of(model), Search(images, labels)
    best, keys = Best(images), keys_of(images)
    for restart in range(restarts):
        if not len(search):
            break
        draws = Draws(keys[search.place.cpu()], f"square {restart}", seed)
        run = _Run(victim, search, threat, draws)
        found = run.through(queries, share, restart * queries)
        best.note(search.place, *found)
    return search.end(best.images[search.place])


class _Run:
    """One run over the images that still stand."""

    def __init__(self, victim: Victim, search: Search, threat: Threat, draws: Draws) -> None:
        self.victim, self.search, self.threat, self.draws = victim, search, threat, draws

    def through(self, queries: int, share: float, number: int) -> tuple[Tensor, Tensor]:
        """All queries; images (A, C, H, W) of the largest margin that still stand, and the margin."""
        linf = self.threat.norm == "linf"
        start, change = (_stripes, _square) if linf else (_tiles, _bumps)
        now = start(self.search.origin, self.threat, self.draws)
        most = now.new_full((len(now),), -math.inf)
        numbers = self.search.place[:, None]
        now, most, numbers = self._look(now, now, most, numbers, number)
        _, channels, height, width = now.shape
        for i in range(queries):
            if not len(self.search):
                break
            if i % _AHEAD == 0:
                numbers = self.draws.integers(1 << _BITS, (_AHEAD, channels + 5))
            side = _side(share / 2 ** sum(i > at for at in HALVED), height, width, linf)
            drawn = numbers[:, i % _AHEAD].to(now.device)
            new = change(now, self.search.origin, self.threat, side, drawn)
            now, most, numbers = self._look(new, now, most, numbers, number + i + 1)
        return now, most

    def _look(self, new: Tensor, now: Tensor, most: Tensor, numbers: Tensor, number: int) -> list[Tensor]:
        """The better of two images each, and its margin; those that are broken leave."""
        logits = self.victim.logits(new)
        losses = margin(logits, self.search.labels)
        up, broken = losses > most, logits.argmax(1) != self.search.labels
        now = torch.where(spread(up | broken, now), new, now)
        return self.search.broke(
            now, broken, number, torch.where(up, losses, most), numbers, draws=[self.draws]
        )


def _side(share: float, height: int, width: int, linf: bool) -> int:
    """Of a square with that share of the image; for L2 odd, so that it has a middle."""
    side = max(round(math.sqrt(share * height * width)), 1 if linf else 3)
    return min(side + (not linf and side % 2 == 0), height, width)


def _stripes(images: Tensor, threat: Threat, draws: Draws) -> Tensor:
    """Every column and channel a radius up or down."""
    signs = draws.signs((images.shape[1], 1, images.shape[3]), images)
    return (images + threat.radius * signs).clamp(0, 1)


def _square(now: Tensor, origin: Tensor, threat: Threat, side: int, drawn: Tensor) -> Tensor:
    """A square in which every channel is a radius up or down."""
    window = _Window(now.shape, side, drawn[:, 0], drawn[:, 1])
    up = _signs(drawn[:, 5:], now)
    return torch.where(window.mask(), (origin + threat.radius * up).clamp(0, 1), now)


def _tiles(images: Tensor, threat: Threat, draws: Draws) -> Tensor:
    """Bumps side by side, with random signs, of the whole radius together."""
    count, channels, height, width = images.shape
    side = max(min(height, width) // 5, 1)
    down, across = height // side, width // side
    signs = draws.signs((channels, down, across), images)
    turned = draws.signs((1, down, across), images) > 0
    bump = _bump(side, images)
    tiles = torch.where(turned[..., None, None], bump, bump.T) * signs[..., None, None]
    tiled = tiles.permute(0, 1, 2, 4, 3, 5).reshape(count, channels, down * side, across * side)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    change = torch.zeros_like(images)
    change[:, :, top : top + down * side, left : left + across * side] = tiled
    return (images + threat.radius * threat.ascent(change)).clamp(0, 1)


def _bumps(now: Tensor, origin: Tensor, threat: Threat, side: int, drawn: Tensor) -> Tensor:
    """A bump in one window, with all that is left of the radius and what another window had."""
    change = now - origin
    here, there = (_Window(now.shape, side, drawn[:, j], drawn[:, j + 1]) for j in (0, 2))
    both = _norms(torch.where(here.mask() | there.mask(), change, 0))
    unused = (threat.radius**2 - spread(length(change), change).square()).clamp(min=0)
    old = here.cut(change)
    bump = _bump(side, now)
    bump = torch.where(spread(drawn[:, 4] >> (_BITS - 1) > 0, now), bump, bump.T)
    new = bump * _signs(drawn[:, 5:], now) + old / (_norms(old) + 1e-12)
    new = new / (_norms(new) + 1e-12) * (unused / now.shape[1] + both.square()).sqrt()
    change = here.paste(torch.where(there.mask(), 0, change), new)
    return (origin + threat.radius * threat.ascent(change)).clamp(0, 1)


@dataclass
class _Window:
    """A square for each image, by two random numbers of _BITS bits: where it begins."""

    shape: torch.Size
    side: int
    down: Tensor
    across: Tensor

    def __post_init__(self) -> None:
        height, width = self.shape[2:]
        self.down = (self.down * (height - self.side + 1)) >> _BITS
        self.across = (self.across * (width - self.side + 1)) >> _BITS

    def mask(self) -> Tensor:
        """(B, 1, H, W) bool."""
        inside = []
        for size, begin in zip(self.shape[2:], (self.down, self.across), strict=True):
            at = torch.arange(size, device=begin.device)
            inside.append((at >= begin[:, None]) & (at < begin[:, None] + self.side))
        return inside[0][:, None, :, None] & inside[1][:, None, None, :]

    def cut(self, values: Tensor) -> Tensor:
        """What is in the squares: (B, C, H, W) to (B, C, side, side)."""
        return values[self._places()]

    def paste(self, values: Tensor, new: Tensor) -> Tensor:
        """With `new`, (B, C, side, side), in the squares."""
        pasted = values.clone()
        pasted[self._places()] = new
        return pasted

    def _places(self) -> tuple[Tensor, ...]:
        device, side = self.down.device, torch.arange(self.side, device=self.down.device)
        image, channel = (torch.arange(size, device=device) for size in self.shape[:2])
        down, across = self.down[:, None] + side, self.across[:, None] + side
        return (
            image[:, None, None, None], channel[None, :, None, None],
            down[:, None, :, None], across[:, None, None, :],
        )  # fmt: skip


def _bump(side: int, like: Tensor) -> Tensor:
    """Two hills, the upper half up and the lower half down, of length 1: (side, side)."""
    half = side // 2
    bump = torch.cat([_hill(half, side), -_hill(side - half, side)])
    return (bump / bump.square().sum().sqrt()).to(like)


def _hill(height: int, width: int) -> Tensor:
    """Rectangles on each other, around the middle, in falling weight: (height, width), of length 1."""
    hill = torch.zeros(height, width, dtype=torch.float64)
    top, left = height // 2, width // 2
    for i in range(max(top, left) + 1):
        rows, columns = (slice(max(at - i, 0), at + i + 1) for at in (top, left))
        hill[rows, columns] += 1 / (i + 1) ** 2
    return hill / hill.square().sum().sqrt().clamp(min=1e-12)


def _norms(values: Tensor) -> Tensor:
    """Of each channel: (B, C, H, W) to (B, C, 1, 1)."""
    return length(values.flatten(0, 1)).reshape(*values.shape[:2], 1, 1)


def _signs(drawn: Tensor, like: Tensor) -> Tensor:
    """-1 or 1 for each channel by the first bit of its number: (B, C) to (B, C, 1, 1)."""
    return (2 * (drawn >> (_BITS - 1)) - 1).to(like.dtype)[:, :, None, None]
