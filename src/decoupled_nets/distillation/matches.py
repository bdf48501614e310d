"""Which candidate goes before which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: A candidate goes before the best if it has fewer constants (seg with its two has every linear and every
#: ball among it) and leaves no more than so much more unexplained, and so many times as much.
SLACK, TIMES = 1e-3, 10.0
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Match:
    """How near an operator comes to a layer: R² of its h and of its g, and how many constants were found."""

    pair: tuple[str, str]
    h: float
    g: float
    constants: int

    @property
    def operator(self) -> str:
        """Its shorthand."""
        return "-".join(self.pair)


def simplest(explained: Mapping[str, float], constants: Mapping[str, int]) -> list[str]:
    """Names from the nearest on; first that of the fewest constants of those that are about as near.

    Args:
        explained: R² of h and of g together: 2 is all.
        constants: how many were found.
    """
    best = max(explained.values())
    slack = min(SLACK, (TIMES - 1) * (2 - best) + _ROUNDING)
    near = [name for name, value in explained.items() if value >= best - slack]
    first = min(near, key=lambda name: (constants[name], -explained[name]))
    rest = sorted((name for name in explained if name != first), key=lambda name: -explained[name])
    return [first, *rest]
