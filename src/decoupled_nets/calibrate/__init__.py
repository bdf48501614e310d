"""Calibration: a converted network starts from the response of the plain one."""

from .engine import calibrate
from .layers import patch_norms
from .report import CalibratedLayer, Calibration, Distance

__all__ = ["CalibratedLayer", "Calibration", "Distance", "calibrate", "patch_norms"]
