"""Checks whether attacks could fail for reasons of their own, one file each; every file here is found.

A number under attack says nothing by itself: gradients that mislead, budgets that end too early and outputs
that are random make networks look robust (Athalye et al., 2018; Carlini et al., 2019; Pintor et al., 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..._discover import modules_of
from ..attacks import attack_named
from ..draws import Draws, keys_of
from ..losses import Loss
from ..threat import Threat
from ..victim import Victim

if TYPE_CHECKING:
    from ..report import Robustness

#: Images that a check looks at: they cost as much as an attack.
MOST = 50
#: About how many forward passes of each of them all checks take.
WORK = 600


@dataclass
class Check:
    """What a check found.

    Attributes:
        name: Of the check.
        flag: Whether it speaks up: the attacks may have failed for reasons of their own.
        text: What was seen, in words and numbers.
        values: The numbers.
    """

    name: str
    flag: bool
    text: str
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Context:
    """What checks look at.

    Attributes:
        victim: What was attacked: the network, or the mean of its random outputs.
        images: (B, C, H, W).
        labels: (B,).
        found: What the attacks left.
        seed: Of random numbers.
        advance: Called with the work done.
        itself: The network.
    """

    victim: Victim
    images: Tensor
    labels: Tensor
    found: Robustness
    seed: int
    advance: Callable[[int], None]
    itself: Victim

    @cached_property
    def some(self) -> tuple[Tensor, Tensor]:
        """At most :data:`MOST` images that are classified correctly, and their labels: always the same ones.

        They are chosen by their content, so that the order of the images does not matter.
        """
        right = self.found.clean.to(self.images.device).nonzero()[:, 0]
        order = Draws(keys_of(self.images[right]), "checks", self.seed).integers(2**30).argsort(stable=True)
        chosen = right[order[:MOST].to(right.device)]
        return self.images[chosen], self.labels[chosen]

    @cached_property
    def standing(self) -> Tensor:
        """Places of at most :data:`MOST` images that no attack broke."""
        return self.found.robust.to(self.images.device).nonzero()[:, 0][:MOST]

    def left_by_pgd(self, threat: Threat | None = None, loss: str | Loss = "margin") -> int:
        """Of :attr:`some`, how many images stand after a short PGD, which checks compare with its kin."""
        images, labels = self.some
        tried = attack_named("pgd")(
            self.victim, images, labels, threat or self.found.threat, loss=loss, steps=20, step=0.2,
            seed=self.seed,
        )  # fmt: skip
        return int((tried.step < 0).sum())

    @cached_property
    def left(self) -> int:
        """:meth:`left_by_pgd` at the evaluation's own radius."""
        return self.left_by_pgd()


Look = Callable[[Context], Check | None]
_FOUND: dict[str, Look] = {}


def check(name: str) -> Callable[[Look], Look]:
    """Decorator: have a function run beside every evaluation; None: it has nothing to say there."""

    def noted(function: Look) -> Look:
        _FOUND[name] = function
        return function

    return noted


@cache
def checks() -> dict[str, Look]:
    """Every check by its name."""
    modules_of(__name__)
    return dict(_FOUND)


def checked(context: Context) -> list[Check]:
    """What all checks have to say."""
    if not bool(context.found.clean.any()):
        return []
    found = []
    for look in checks().values():
        with torch.random.fork_rng(devices=[]):
            found.append(look(context))
        context.advance(WORK * min(len(context.images), MOST) // len(checks()))
    return [one for one in found if one is not None]
