"""MAE: the mean over images of the mean absolute error."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchmetrics
from torch import Tensor

from ...data import BORDER
from . import further


class MeanAbsoluteError(torchmetrics.Metric):
    """Of each image, where there is depth, without the border that does not count."""

    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), "sum")
        self.add_state("images", torch.zeros((), dtype=torch.long), "sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count maps (B, 1, H, W) with targets (B, 2, H, W), whose first channel is the depth."""
        errors = (outputs - targets[:, :1]).abs()[..., BORDER:-BORDER, BORDER:-BORDER].double()
        known = ~(targets[:, :1][..., BORDER:-BORDER, BORDER:-BORDER]).isnan().flatten(1)
        each = errors.flatten(1).where(known, 0.0).sum(1) / known.sum(1).clamp(min=1)
        self.total = self.total + each.sum()
        self.images = self.images + known.any(1).sum()

    def compute(self) -> Tensor:
        """The mean, in the data's unit."""
        return self.total / self.images


@further("depth", title="MAE", unit="units", better="lower")
def mae(classes: Sequence[str]) -> MeanAbsoluteError:
    """In the data's unit."""
    return MeanAbsoluteError()
