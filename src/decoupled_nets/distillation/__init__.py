"""Distillation: what learned operators have become, in terms of the named ones."""

from .engine import distil
from .report import Curve, Distillation, DistilledLayer

__all__ = ["Curve", "Distillation", "DistilledLayer", "distil"]
