"""What attacks do to a network."""

from .attacks import Attacked, attack, attack_named, attacks
from .attacks._nearest import Nearest
from .attacks.fab_t import fab_minimum
from .attacks.fmn import minimum
from .attacks.transfer import transferred
from .threat import Threat
from .victim import Victim

__all__ = [
    "Attacked", "Nearest", "Threat", "Victim", "attack", "attack_named", "attacks", "fab_minimum", "minimum",
    "transferred",
]  # fmt: skip
