"""Conversion of existing networks: what to take, what becomes of it, the report, and the way back."""

from .classes import register_twin
from .engine import convert, revert
from .report import Conversion, Fate
from .select import Select
from .upsampling import convert_upsampling

__all__ = ["Conversion", "Fate", "Select", "convert", "convert_upsampling", "register_twin", "revert"]
