"""What learned operators came to: the data they saw, the nearest named ones, and the exchange for these."""

from .densities import Densities, observe
from .engine import Distillation, DistilledLayer, distil
from .fit import Fitted

__all__ = ["Densities", "Distillation", "DistilledLayer", "Fitted", "distil", "observe"]
