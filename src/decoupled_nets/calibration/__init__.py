"""Calibration: a converted network starts from the response of the plain one."""

from .engine import TOLERANCE, calibrate
from .layers import patch_norms
from .report import CalibratedLayer, Calibration, Distance

__all__ = ["TOLERANCE", "CalibratedLayer", "Calibration", "Distance", "calibrate", "patch_norms"]
