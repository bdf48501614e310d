"""Attacks, one file each; every file here is found.

An attack takes a network, images, labels and a threat, and gives for each image another one in the threat's
ball: one that the network takes for another class if it found any, else the best that it met. Images leave
the work as soon as they are broken. Randomness belongs to the image
(:mod:`decoupled_nets.robustness.draws`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

from ..._discover import modules_of
from ..._registry import unknown


@dataclass
class Attacked:
    """What an attack made of images.

    Attributes:
        images: (B, C, H, W), within the ball and within [0, 1].
        step: (B,) int64: gradient step or query at which the image was broken, from 0 for the start; -1 if
            it was not.
    """

    images: Tensor
    step: Tensor


Attack = Callable[..., Attacked]


@dataclass(frozen=True)
class Known:
    """An attack with its options.

    Attributes:
        name: By which suites name it.
        title: In text.
        run: ``run(victim, images, labels, threat, seed=0)``.
        white: Whether it uses gradients.
        norms: Threats that it is made for.
        options: The options it runs with; a suite may change them.
    """

    name: str
    title: str
    run: Attack
    white: bool
    norms: tuple[str, ...]
    options: dict[str, Any]

    def __call__(self, *given: Any, **changes: Any) -> Attacked:
        """Run it."""
        return self.run(*given, **{**self.options, **changes})


_FOUND: dict[str, Known] = {}


def attack(
    name: str, title: str, *, white: bool = True, norms: tuple[str, ...] = ("linf", "l2"), **options: Any
) -> Callable[[Attack], Attack]:
    """Decorator: have a function known as an attack; several give it several names, with other options.

    Args:
        name: by which suites name it.
        title: in text.
        white: whether it uses gradients.
        norms: threats that it is made for.
        **options: of the function.
    """

    def noted(function: Attack) -> Attack:
        _FOUND[name] = Known(name, title, function, white, norms, options)
        return function

    return noted


@cache
def attacks() -> dict[str, Known]:
    """Every attack by its name."""
    modules_of(__name__)
    return dict(_FOUND)


def attack_named(name: str) -> Known:
    """The attack of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in attacks():
        raise ValueError(unknown("attack", name, list(attacks())))
    return attacks()[name]
