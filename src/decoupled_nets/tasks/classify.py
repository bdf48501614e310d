"""Classification: one label an image.

B: batch, K: classes.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .._metric import Metric
from ..data import DataConfig, Found, ImageData, describe_data, load_data
from ..models.config import NetworkConfig
from ..networks import build
from .task import Reduction, Task


class Classify(Task):
    """The network gives logits (B, K), the targets are labels (B,); an image counts 1 if it is right."""

    name = "classify"
    about = "image classification"
    metric = Metric("accuracy", "accuracy")
    model = "cnn9"
    share = True
    sections = ("attacks", "features", "classes")
    takes = ("mixup", "cutmix", "randaugment", "color_jitter", "random_erasing", "sampling", "adversarial",
             "label_smoothing", "class_weights", "drop_rate")  # fmt: skip

    @classmethod
    def load(cls, config: DataConfig) -> ImageData:
        """Images with labels; training images are shifted or cropped, and mirrored (data/transform.py)."""
        return load_data(config)

    @classmethod
    def describe(cls, config: DataConfig) -> Found:
        """What :meth:`load` finds."""
        return describe_data(config)

    def network(self, config: NetworkConfig, operator: str, in_chans: int, **options: Any) -> nn.Module:
        """A classifier of whatever origin."""
        return build(config, operator, len(self.classes), in_chans, **options)

    def shape(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        """(K,)."""
        return (len(self.classes),)

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        reduction: Reduction = "mean",
    ) -> Tensor:
        """Cross-entropy, in nats, with labels (B,) or the shares of the classes (B, K)."""
        logits = outputs if reduction == "mean" else outputs.float()
        weight = None if class_weights is None else class_weights.to(logits)
        return F.cross_entropy(logits, targets, weight, reduction=reduction, label_smoothing=label_smoothing)

    def class_counts(self, data: ImageData) -> Tensor:
        """Training images of each class."""
        return data.train.labels.bincount(minlength=len(self.classes))

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B, 1): 1 where the largest logit is the label's."""
        return (outputs.argmax(1) == targets).long()[:, None]

    def kept(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The class found, the label, and the probability of the class found."""
        confidence, predicted = outputs.float().softmax(1).max(1)
        return {"predicted": predicted, "target": targets, "confidence": confidence}

    def value(self, totals: Tensor, images: float) -> float:
        """The share of images that are classified correctly."""
        return float(totals[0]) / images if images else float("nan")
