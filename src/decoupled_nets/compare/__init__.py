"""The same network with different operators, side by side."""

from .config import CompareConfig
from .run import RunsFailedError, compare

__all__ = ["CompareConfig", "RunsFailedError", "compare"]
