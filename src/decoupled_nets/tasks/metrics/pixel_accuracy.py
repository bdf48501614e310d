"""Pixel accuracy: the share of labelled pixels whose class is found."""

from collections.abc import Sequence

from torchmetrics.classification import MulticlassAccuracy

from ...data import VOID
from . import further


@further("segment", title="pixel accuracy")
def pixel_accuracy(classes: Sequence[str]) -> MulticlassAccuracy:
    """Large classes count most."""
    return MulticlassAccuracy(len(classes), average="micro", ignore_index=VOID)
