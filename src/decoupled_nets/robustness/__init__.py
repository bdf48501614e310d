"""Accuracy under attack."""

from .attacks import Attack, fgsm, pgd, surviving

__all__ = ["Attack", "fgsm", "pgd", "surviving"]
