"""Semantic segmentation: one class a pixel.

B: batch, K: classes, H, W: height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from .._metric import Metric
from ..data import VOID, DataConfig, Found, ImageData, describe_masks, load_masks
from ..data.batches import Batch
from ..data.mask_transform import Augmentation
from ..models.config import NetworkConfig
from ..models.segmentation import OWN
from ..networks import build
from ._examples import Examples, picture
from .task import Reduction, Task

_SHOWN = 4
_COUNTED = 1000  # training masks whose pixels stand for those of all


def augmentation(size: tuple[int, int], mirror: bool) -> Augmentation:
    """A crop of half to all of an image, its colours jittered, and mirrored half of the time."""
    steps: list[nn.Module] = [
        v2.RandomResizedCrop(size, scale=(0.5, 1.0), ratio=(0.8, 1.25), antialias=True),
        v2.ColorJitter(brightness=0.2, contrast=0.2),
    ]
    if mirror:
        steps.append(v2.RandomHorizontalFlip())
    words = "a random half or more of it, scaled back, brightness and contrast by up to a fifth"
    return Augmentation(words + (", mirrored half of the time" if mirror else ""), v2.Compose(steps))


class Segment(Task):
    """The network gives logits (B, K, H, W), the targets are classes of pixels (B, H, W), VOID for none.

    Of each image two numbers a class are kept: how many pixels of the class are found (the intersection of
    mask and prediction), and how many are in either (their union).
    """

    name = "segment"
    about = "semantic segmentation"
    metric = Metric("miou", "mIoU")
    model = OWN
    sections = ("predictions",)
    takes = ("label_smoothing", "class_weights")

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self.counts = 2 * len(self.classes)

    @classmethod
    def load(cls, config: DataConfig) -> ImageData:
        """Images with masks, augmented together."""
        return load_masks(config, augmentation)

    @classmethod
    def describe(cls, config: DataConfig) -> Found:
        """What :meth:`load` finds."""
        return describe_masks(config, augmentation)

    def network(self, config: NetworkConfig, operator: str, in_chans: int, **options: Any) -> nn.Module:
        """A U-Net of ours, or a network of whatever origin that gives every pixel its classes."""
        return build(config, operator, len(self.classes), in_chans, dense=True, **options)

    def shape(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        """(K, H, W)."""
        return (len(self.classes), *image_size)

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        reduction: Reduction = "mean",
    ) -> Tensor:
        """Cross-entropy, in nats: the mean over labelled pixels, of the batch or of each image."""
        options: dict[str, Any] = {"ignore_index": VOID, "label_smoothing": label_smoothing}
        if class_weights is not None:
            options["weight"] = class_weights.to(outputs)
        labelled = targets != VOID
        if reduction == "mean":
            return F.cross_entropy(outputs, targets, reduction="sum", **options) / labelled.sum().clamp(min=1)
        each = F.cross_entropy(outputs.float(), targets, reduction="none", **options)
        return (each.sum((1, 2)) / labelled.sum((1, 2)).clamp(min=1)).sum()

    def class_counts(self, data: ImageData) -> Tensor:
        """Pixels of each class in the training masks, or in some of many."""
        shown = torch.arange(data.train_size)[:: max(1, data.train_size // _COUNTED)]
        counts = torch.zeros(len(self.classes) + 1, dtype=torch.long)
        for _, masks in data.train.batches([Batch(some, slice(None)) for some in shown.split(50)]):
            seen = masks.where(masks != VOID, len(self.classes))
            counts += seen.flatten().bincount(minlength=len(counts))
        return counts[:-1]

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B, 2K): intersections of the classes, then their unions."""
        found, labelled = outputs.argmax(1), targets != VOID
        truth, guess = self._pixels(targets, labelled), self._pixels(found, labelled)
        both = self._pixels(targets, labelled & (targets == found))
        return torch.cat([both, truth + guess - both], 1)

    def _pixels(self, classes: Tensor, counted: Tensor) -> Tensor:
        """(B, K): how many of the pixels that count, of each image, are of each class."""
        images, k = len(classes), len(self.classes)
        place = torch.arange(images, device=classes.device)[:, None, None] * k + classes
        return torch.bincount(place[counted], minlength=images * k).view(images, k)

    def value(self, totals: Tensor, images: float) -> float:
        """The mean over the classes that occur, or are found, of intersection over union."""
        both, either = totals.double().chunk(2)
        return float((both / either)[either > 0].mean())

    @torch.no_grad()
    def examples(self, network: nn.Module, data: ImageData) -> Examples:
        """A few test images with their masks and with what the network makes of them."""
        images, targets = data.test_subset(_SHOWN)
        device = next(network.parameters()).device
        found = network.eval()(images.to(device)).argmax(1).cpu()
        given = {"images": [picture(x) for x in images], "masks": [picture(mask) for mask in targets]}
        return Examples(given, [picture(mask) for mask in found])
