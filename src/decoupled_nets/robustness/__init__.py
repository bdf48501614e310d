"""Accuracy under attack."""

from .attacks import Attack, attack, attacks
from .attacks.fgsm import fgsm
from .attacks.pgd10 import pgd
from .surviving import surviving

__all__ = ["Attack", "attack", "attacks", "fgsm", "pgd", "surviving"]
