"""Calibration error: how far the confidence of a network is from its accuracy (Guo et al., 2017)."""

from collections.abc import Sequence

from torchmetrics.classification import MulticlassCalibrationError

from . import further


@further("classify", title="calibration error", better="lower")
def calibration_error(classes: Sequence[str]) -> MulticlassCalibrationError:
    """The expected one, over 15 bins of the highest probability."""
    return MulticlassCalibrationError(len(classes), n_bins=15)
