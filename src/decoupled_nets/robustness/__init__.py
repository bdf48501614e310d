"""What attacks do to a network."""

from .attacks import Attacked, attack, attack_named, attacks
from .threat import Threat
from .victim import Victim

__all__ = ["Attacked", "Threat", "Victim", "attack", "attack_named", "attacks"]
