"""Confusion: how many images of each class are taken for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from . import further


class Confusions(torchmetrics.Metric):
    """Pairs of classes that occur, (P, 3): label, class found, number of images.

    The whole matrix, as torchmetrics has it, would take gigabytes for ten thousand classes.
    """

    pairs: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("pairs", [], "cat")

    def update(self, outputs: Any, targets: Tensor) -> None:
        """Count logits (B, K) with labels (B,)."""
        self.pairs.append(torch.stack([targets, outputs.argmax(1)], 1))

    def sync(self, *args: Any, **options: Any) -> None:
        """Gather those of all processes, one without images among them."""
        if not self.pairs:
            self.pairs.append(torch.zeros(0, 2, dtype=torch.long, device=self.device))
        super().sync(*args, **options)

    def compute(self) -> Tensor:
        """The pairs, by label and class found."""
        found, counts = dim_zero_cat(self.pairs).unique(dim=0, return_counts=True)
        return torch.cat([found, counts[:, None]], 1)


@further("classify", title="confusion", unit="images", table=True)
def confusion(classes: Sequence[str]) -> Confusions:
    """The section on classes of the page is made of it."""
    return Confusions()
