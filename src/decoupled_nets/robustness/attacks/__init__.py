"""Quick white-box attacks in pixel space (L-infinity), one file each; every file here is found.

They are a first look. None excludes gradient masking, so none supports a claim of robustness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from torch import Tensor

from ..._discover import modules_of

Attack = Callable[..., Tensor]
Function = TypeVar("Function", bound=Attack)


@dataclass(frozen=True)
class Known:
    """An attack, and how it is called in text.

    Attributes:
        title: In text.
        run: From a network, images (B, C, H, W), labels (B,), a radius and a ``generator`` to images.
    """

    title: str
    run: Attack


_FOUND: dict[str, Known] = {}


def attack(title: str) -> Callable[[Function], Function]:
    """Decorator: have an attack run wherever networks are attacked, under its function's name."""

    def noted(function: Function) -> Function:
        _FOUND[function.__name__] = Known(title, function)
        return function

    return noted


@cache
def attacks() -> dict[str, Known]:
    """Every attack by its name."""
    modules_of(__name__)
    return dict(_FOUND)
