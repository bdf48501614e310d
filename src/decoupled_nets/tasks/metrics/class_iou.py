"""Intersection over union of each class, over all test images together."""

from collections.abc import Sequence

from torchmetrics.classification import MulticlassJaccardIndex

from ...data import VOID
from . import further


@further("segment", title="IoU", per_class=True)
def class_iou(classes: Sequence[str]) -> MulticlassJaccardIndex:
    """None (NaN) for a class that neither occurs nor is found, which mIoU leaves out, too."""
    return MulticlassJaccardIndex(len(classes), average="none", ignore_index=VOID, zero_division=float("nan"))
