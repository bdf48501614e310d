"""Macro F1: the mean over classes of the harmonic mean of precision and recall."""

from collections.abc import Sequence

from torchmetrics.classification import MulticlassF1Score

from . import further


@further("classify", title="macro F1")
def macro_f1(classes: Sequence[str]) -> MulticlassF1Score:
    """Classes that have no test images, and are never predicted, do not count."""
    return MulticlassF1Score(len(classes), average="macro")
