"""Detection: boxes around objects, each with a class.

B: batch, K: classes, H, W: height and width, M: the most objects of an image, D: boxes given for an image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms import v2

from .._metric import Metric
from ..data import BoxAugmentation, DataConfig, Found, ImageData, describe_boxes, load_boxes
from ..data.box_store import BoxStore
from ..data.boxes import own_classes
from ..models.config import NetworkConfig
from ..models.detection import MOST, OWN
from ..networks import build
from ._examples import Examples, picture
from ._matching import AveragePrecision, counts, matched
from .task import Reduction, Task

_SHOWN = 4
_ZOOM = 1.5  # objects are made larger by up to this, and smaller
_SURE = 0.5  # boxes of at least this score are drawn


def augmentation(size: tuple[int, int], mirror: bool) -> BoxAugmentation:
    """Some smaller on a black ground, some larger and cut, colours jittered, mirrored half of the time.

    Objects of which nothing is left in sight are none any more (:class:`BoxTransform`).
    """
    height, width = size
    out = v2.Compose(
        [v2.RandomZoomOut(fill=0, side_range=(1.0, _ZOOM), p=1.0), v2.Resize(size, antialias=True)]
    )
    into = v2.RandomResizedCrop(size, scale=(_ZOOM**-2, 1.0), ratio=(width / height,) * 2, antialias=True)
    zoom = v2.RandomChoice([v2.Identity(), out, into])
    steps: list[nn.Module] = [v2.ColorJitter(brightness=0.2, contrast=0.2), zoom]
    if mirror:
        steps.append(v2.RandomHorizontalFlip())
    words = (
        "a third each as they are, up to a third smaller and up to half as large again, brightness and"
        " contrast by up to a fifth"
    )
    return BoxAugmentation(words + (", mirrored half of the time" if mirror else ""), v2.Compose(steps))


class Detect(Task):
    """The network gives boxes (B, D, 6), the targets are objects (B, M, 7).

    Of each image it is kept which boxes match an object at each threshold of overlap: average precision is no
    sum over images.
    """

    name = "detect"
    about = "object detection"
    metric = Metric("ap", "AP")
    model = OWN
    sections = ("boxes",)
    takes = ("upsample",)
    adds = False
    half = False

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self.counts = counts(len(self.classes))

    @classmethod
    def load(cls, config: DataConfig) -> ImageData:
        """Images with boxes, augmented together."""
        return load_boxes(config, augmentation)

    @classmethod
    def describe(cls, config: DataConfig) -> Found:
        """What :meth:`load` finds."""
        return describe_boxes(config, augmentation)

    def network(self, config: NetworkConfig, operator: str, in_chans: int, **options: Any) -> nn.Module:
        """A Faster R-CNN of ours, or one of torchvision's detectors."""
        return build(config, operator, len(self.classes), in_chans, boxes=True, **options)

    def shape(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        """(D, 6)."""
        return (MOST, 6)

    def training_loss(self, network: Callable[..., Any], images: Tensor, targets: Any, **_: Any) -> Tensor:
        """The sum of the losses that a detector itself gives for images with their objects."""
        losses = network(images, targets)
        return torch.stack(list(losses.values())).sum()

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        reduction: Reduction = "mean",
    ) -> Tensor:
        """Not a number: boxes that were chosen have no loss any more."""
        return outputs.new_tensor(float("nan"))

    def class_counts(self, data: ImageData) -> Tensor:
        """Objects of each class in the training images, crowds left out."""
        assert isinstance(data.train, BoxStore)
        return own_classes(data.train.truth).bincount(minlength=len(self.classes))

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B, counts): which boxes match at which threshold, and how many objects there are."""
        return matched(outputs, targets, len(self.classes)).to(outputs.device)

    def value(self, totals: Tensor, images: float) -> float:
        """AP of the outcomes of all images, (N, counts), as nothing of them is a sum."""
        return AveragePrecision(totals.cpu(), len(self.classes))()

    def scorer(self, outcomes: Tensor) -> Callable[[NDArray[Any]], float]:
        """AP of images that count as often as their weights say."""
        return AveragePrecision(outcomes.cpu(), len(self.classes))

    @torch.no_grad()
    def examples(self, network: nn.Module, data: ImageData) -> Examples:
        """A few test images with their objects, and the boxes that the network is sure of."""
        images, targets = data.test_subset(_SHOWN)
        device = next(network.parameters()).device
        found = network.eval()(images.to(device)).cpu()
        given = {
            "images": [picture(x) for x in images],
            "boxes": [_text(t[t[:, 4] >= 0, :6]) for t in targets],
        }
        sure = [rows[(rows[:, 5] >= 0) & (rows[:, 4] >= _SURE)] for rows in found]
        return Examples(given, [_text(rows[:, [0, 1, 2, 3, 5, 4]]) for rows in sure])


def _text(rows: Tensor) -> str:
    """Boxes as text: x1, y1, x2, y2, class, and a further number."""
    return json.dumps([[round(value, 3) for value in row] for row in rows.tolist()])
