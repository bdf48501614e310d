"""From a decoded image to the size that a detector is given, and from its boxes to theirs.

An image keeps its aspect: it is scaled to fit, stands at the upper left, and what remains is black.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from .batches import Batch
from .boxes import FIELDS, NOTHING
from .sampling import generator
from .transform import Transform

_LEAST = 1.0  # pixels: smaller boxes are no objects any more


class BoxAugmentation(NamedTuple):
    """What training images go through.

    Attributes:
        words: What it does, in words.
        transform: One of torchvision.transforms.v2: takes an image and its boxes; both keep the size.
    """

    words: str
    transform: Callable[[tv_tensors.Image, tv_tensors.BoundingBoxes], Any]


@dataclass(frozen=True)
class BoxTransform(Transform):
    """How images are brought to their size; augmentation is a matter of a batch and its boxes.

    Attributes:
        augmentation: What training images and their boxes go through together.
    """

    augmentation: BoxAugmentation = field(
        default=BoxAugmentation("as they are", lambda image, boxes: (image, boxes))
    )

    def describe(self, augment: bool) -> str:
        """The protocol in words."""
        words = self.augmentation.words if augment else "no augmentation"
        return f"images scaled to fit, with their aspect, black beyond; training images {words}"

    def fitted(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) that an image of this size has within the canvas."""
        high, wide = self.canvas
        scale = min(high / size[0], wide / size[1])
        return min(high, max(1, round(size[0] * scale))), min(wide, max(1, round(size[1] * scale)))

    def prepare(self, image: Image.Image) -> npt.NDArray[Any]:
        """Bring a decoded image to its size: (C, H, W)."""
        high, wide = self.canvas
        if image.size != (wide, high):
            inner = self.fitted((image.height, image.width))
            scaled = image.resize(inner[::-1], Image.Resampling.BILINEAR)
            black: Any = (self.pixel_range or (0, 0))[0] if image.mode == "F" else 0
            image = Image.new(image.mode, (wide, high), black)
            image.paste(scaled, (0, 0))
        return super().prepare(image)

    def boxes(self, truth: Tensor, size: tuple[int, int]) -> Tensor:
        """Boxes (M, 7) in pixels of an image of that size, as they lie in what is made of it."""
        inner = self.fitted(size)
        factors = torch.tensor([inner[1] / size[1], inner[0] / size[0]] * 2)
        area = truth[:, 6:] * factors[0] * factors[1]
        return torch.cat([truth[:, :4] * factors, truth[:, 4:6], area], 1)

    def places(self, batch: Batch) -> Tensor | None:
        """Draw a seed for each image of this process's part, (B,) int64; None: no augmentation."""
        if batch.key is None:
            return None
        rng = generator("augment", *batch.key)
        return torch.randint(2**62, (len(batch.indices),), generator=rng)[batch.shard]

    def augmented(self, images: Tensor, truth: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Augment images (B, C, H, W) and their boxes (B, M, 7), each by its seed."""
        with torch.random.fork_rng(devices=[]):  # transforms of torchvision draw from the global generator
            pairs = [self._augmented(*one) for one in zip(images, truth, seeds.tolist(), strict=True)]
        return torch.stack([image for image, _ in pairs]), torch.stack([boxes for _, boxes in pairs])

    def _augmented(self, image: Tensor, truth: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        torch.default_generator.manual_seed(seed)
        own = truth[truth[:, 4] != NOTHING]
        boxes = tv_tensors.BoundingBoxes(own[:, :4], format="XYXY", canvas_size=tuple(image.shape[-2:]))
        image, moved = self.augmentation.transform(tv_tensors.Image(image), boxes)
        corners = moved.as_subclass(Tensor)
        large = (corners[:, 2:] - corners[:, :2] >= _LEAST).all(1)
        made = torch.zeros(len(truth), FIELDS)
        made[:, 4] = NOTHING
        # Of an object that may be cut now the area is not known; nothing in training asks for it.
        made[: int(large.sum()), :6] = torch.cat([corners, own[:, 4:6]], 1)[large]
        return image.as_subclass(Tensor), made
