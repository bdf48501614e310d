"""Conversion of existing networks: what to take, what becomes of it, the report, and the way back."""

from .engine import convert, revert
from .report import Conversion, Fate
from .select import Select

__all__ = ["Conversion", "Fate", "Select", "convert", "revert"]
