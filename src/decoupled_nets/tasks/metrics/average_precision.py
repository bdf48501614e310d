"""Average precision at one overlap, for objects of one size, and of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torchmetrics
from torch import Tensor

from .._matching import AREAS, AveragePrecision, counts, mean
from . import further


class Precision(torchmetrics.Metric):
    """Average precision over all test images.

    Args:
        classes: how many there are.
        threshold: number of the only threshold of overlap that counts; None: the mean of all.
        area: name of the range of areas.
        per_class: one number a class, instead of their mean.
    """

    rows: list[Tensor]

    def __init__(
        self, classes: int, threshold: int | None = None, area: str = "all", per_class: bool = False
    ) -> None:
        super().__init__()
        self.classes, self.per_class = classes, per_class
        self.places = slice(None) if threshold is None else slice(threshold, threshold + 1)
        self.area = list(AREAS).index(area)
        self.add_state("rows", [], "cat")

    def update(self, outcomes: Tensor) -> None:
        """Keep which boxes of each image match which objects, (B, counts), as the task keeps it."""
        self.rows.append(outcomes.to(self.device))

    def sync(self, *args: Any, **options: Any) -> None:
        """Gather those of all processes, one without images among them."""
        if not self.rows:
            self.rows.append(torch.zeros(0, counts(self.classes), dtype=torch.long, device=self.device))
        super().sync(*args, **options)

    def compute(self) -> Tensor:
        """A number, or one a class; NaN where there is no object."""
        rows = torch.cat(self.rows) if isinstance(self.rows, list) else self.rows
        table = AveragePrecision(rows.cpu(), self.classes).table()[self.places, self.area]
        if self.per_class:
            return torch.tensor([mean(table[:, k]) for k in range(self.classes)])
        return torch.tensor(mean(table))


@further("detect", title="AP50", outcomes=True)
def ap50(classes: Sequence[str]) -> Precision:
    """At an overlap of one half."""
    return Precision(len(classes), 0)


@further("detect", title="AP75", outcomes=True)
def ap75(classes: Sequence[str]) -> Precision:
    """At an overlap of three quarters."""
    return Precision(len(classes), 5)


@further("detect", title="AP of small objects", outcomes=True)
def ap_small(classes: Sequence[str]) -> Precision:
    """Of up to 32² pixels in the image as the network is given it."""
    return Precision(len(classes), area="small")


@further("detect", title="AP of medium objects", outcomes=True)
def ap_medium(classes: Sequence[str]) -> Precision:
    """Of 32² to 96² pixels."""
    return Precision(len(classes), area="medium")


@further("detect", title="AP of large objects", outcomes=True)
def ap_large(classes: Sequence[str]) -> Precision:
    """Of 96² pixels or more."""
    return Precision(len(classes), area="large")


@further("detect", title="AP by class", outcomes=True, per_class=True)
def class_ap(classes: Sequence[str]) -> Precision:
    """None (NaN) for a class of which no test image has an object."""
    return Precision(len(classes), per_class=True)
