"""From a decoded image and its mask to what a network is given and what it is to say.

A mask is kept as one more channel of its image, so that whatever moves the one moves the other.

B: batch, C: channels, H, W: height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision import tv_tensors

from .batches import Batch, Labelled, to_float
from .mask_values import VOID
from .sampling import generator
from .transform import Transform


class Augmentation(NamedTuple):
    """What training images go through.

    Attributes:
        words: What it does, in words.
        transform: One of torchvision.transforms.v2: takes an image and its mask, and gives both in one size.
    """

    words: str
    transform: Callable[[tv_tensors.Image, tv_tensors.Mask], Any]


NONE = Augmentation("as they are", lambda image, mask: (image, mask))


@dataclass(frozen=True)
class MaskTransform(Transform):
    """How images and their masks are brought to their size, and augmented together.

    Attributes:
        codes: The class, from 0, of each value in a mask; -1 for pixels that belong to none.
        augmentation: What training images and their masks go through together.
    """

    codes: dict[int, int] = field(default_factory=dict)
    augmentation: Augmentation = NONE

    @property
    def kept(self) -> tuple[int, int, int]:
        """Shape (C + 1, H, W) of what :meth:`prepare` gives."""
        return self.in_chans + 1, *self.canvas

    @property
    def made(self) -> tuple[int, int, int]:
        """Shape (C + 1, H, W) of what :meth:`finish` gives."""
        return self.in_chans + 1, *self.size

    def describe(self, augment: bool) -> str:
        """The protocol in words."""
        words = self.augmentation.words if augment else "no augmentation"
        return f"images and masks alike scaled to cover their size; training images {words}"

    def prepare(self, image: Image.Image, mask: npt.NDArray[np.int32] | None = None) -> npt.NDArray[Any]:
        """Bring a decoded image and its mask to their size: (C + 1, H, W), the mask last.

        Raises:
            ValueError: the mask has another size or values that are no class.
        """
        assert mask is not None
        if mask.shape != image.size[::-1]:
            raise ValueError(
                f"it has {mask.shape[0]}×{mask.shape[1]} pixels and its image {image.height}×{image.width};"
                " needed: the same"
            )
        classes = Image.fromarray(self._classes(mask))
        pixels = super().prepare(image)
        height, width = self.canvas
        if classes.size != (width, height):
            classes = ImageOps.fit(classes, (width, height), Image.Resampling.NEAREST)
        return np.concatenate([pixels, np.asarray(classes)[None].astype(pixels.dtype)])

    def _classes(self, mask: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        values, places = np.unique(mask, return_inverse=True)
        if strange := [value for value in values.tolist() if value not in self.codes]:
            known = sorted(self.codes)
            raise ValueError(
                f"it has the value {strange[0]}; needed: {', '.join(map(str, known[:20]))}"
                f"{', …' if len(known) > 20 else ''}, or void={strange[0]}: no class"
            )
        codes = [self.codes[value] % 256 for value in values.tolist()]  # -1 becomes VOID
        return np.array(codes, dtype=np.uint8)[places.reshape(mask.shape)]

    def places(self, batch: Batch) -> Tensor | None:
        """Draw a seed for each image of this process's part, (B,) int64; None: no augmentation."""
        if batch.key is None:
            return None
        rng = generator("augment", *batch.key)
        return torch.randint(2**62, (len(batch.indices),), generator=rng)[batch.shard]

    def finish(self, images: Tensor, places: Tensor | None) -> Tensor:
        """Augment prepared images and masks, (B, *made), each by its seed."""
        if places is None:
            return images
        # Transforms of torchvision draw from the global generator.
        with torch.random.fork_rng(devices=[]):
            pairs = zip(images, places.tolist(), strict=True)
            return torch.stack([self._augmented(sample, seed) for sample, seed in pairs])

    def _augmented(self, sample: Tensor, seed: int) -> Tensor:
        torch.default_generator.manual_seed(seed)
        image, mask = self.augmentation.transform(tv_tensors.Image(sample[:-1]), tv_tensors.Mask(sample[-1:]))
        return torch.cat([image.as_subclass(Tensor), mask.as_subclass(Tensor)])

    def pair(self, images: Tensor, labels: Tensor) -> Labelled:
        """Images (B, C, H, W), and the classes of their pixels (B, H, W), VOID where they have none."""
        return to_float(images[:, :-1].contiguous()), images[:, -1].long()


assert VOID == -1 % 256
