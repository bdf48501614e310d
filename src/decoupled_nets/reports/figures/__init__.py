"""Pictures of a comparison and of operators; each function returns a ``matplotlib.figure.Figure``."""

from .boxes import boxes
from .confusion import MOST_SHOWN as MOST_CONFUSED_CLASSES
from .confusion import confusion
from .curves import curves
from .depths import depths
from .features import MOST_CLASSES, features
from .filters import dynamic_filters
from .learned_operators import learned_operators
from .operators import functions, operator_geometry, operators_overview
from .predictions import predictions
from .score import INTERVALS, attacks, differences, score
from .style import png

__all__ = [
    "INTERVALS",
    "MOST_CLASSES",
    "MOST_CONFUSED_CLASSES",
    "attacks",
    "boxes",
    "confusion",
    "curves",
    "depths",
    "differences",
    "dynamic_filters",
    "features",
    "functions",
    "learned_operators",
    "operator_geometry",
    "operators_overview",
    "png",
    "predictions",
    "score",
]
