"""Pictures of a comparison and of operators; each function returns a ``matplotlib.figure.Figure``."""

from decoupled_nets.reports.figures.accuracy import accuracy, attacks
from decoupled_nets.reports.figures.curves import curves
from decoupled_nets.reports.figures.features import MOST_CLASSES, features
from decoupled_nets.reports.figures.operators import functions, operator_geometry, operators_overview
from decoupled_nets.reports.figures.style import png

__all__ = [
    "MOST_CLASSES",
    "accuracy",
    "attacks",
    "curves",
    "features",
    "functions",
    "operator_geometry",
    "operators_overview",
    "png",
]
