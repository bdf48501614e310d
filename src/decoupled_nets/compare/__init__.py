"""The same network with different operators, side by side."""

from .config import CompareConfig
from .run import compare

__all__ = ["CompareConfig", "compare"]
