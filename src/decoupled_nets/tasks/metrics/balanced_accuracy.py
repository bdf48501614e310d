"""Balanced accuracy: the mean over classes of the share of their images that are classified correctly."""

from collections.abc import Sequence

from torchmetrics.classification import MulticlassRecall

from . import further


@further("classify", title="balanced accuracy")
def balanced_accuracy(classes: Sequence[str]) -> MulticlassRecall:
    """Classes that have no test images do not count."""
    return MulticlassRecall(len(classes), average="macro")
