"""From a decoded image to what a network is given: one protocol, wherever the images are kept.

Every image is first brought to a canvas, always alike. Training images are a random crop of the canvas,
mirrored half of the time; validation and test images are its centre. Images that have the wanted size
already stand on a canvas with a black margin of an eighth of their size, others fill a canvas that is larger
than wanted by 1/0.875 (256 pixels for 224, as is usual for ImageNet).

B: batch, C: channels, H, W: height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from . import decode
from .augment import Strong
from .batches import Batch, Labelled, to_float
from .sampling import generator

CROP = 0.875


@dataclass(frozen=True)
class Transform:
    """How images are brought to their size and augmented.

    Attributes:
        in_chans: Channels C of the images it gives: 1 or 3.
        size: (H, W) of the images it gives.
        margin: Whether the canvas is the image of that size with a black margin; else it is a larger image.
        mirror: Whether augmentation mirrors.
        pixel_range: Values of 16- and 32-bit pixels that become 0 and 1; None: there are only 8-bit images.
        one_depth: Whether 8-bit images are refused where there is a range.
        strong: What training images go through besides.
    """

    in_chans: int
    size: tuple[int, int]
    margin: bool
    mirror: bool = True
    pixel_range: tuple[float, float] | None = None
    one_depth: bool = True
    strong: Strong | None = None

    @property
    def kept(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the images that :meth:`prepare` gives and a store keeps."""
        return self.in_chans, *self.canvas

    @property
    def canvas(self) -> tuple[int, int]:
        """(H, W) of the images that :meth:`prepare` gives."""
        height, width = self.size
        return (height, width) if self.margin else (round(height / CROP), round(width / CROP))

    @property
    def made(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of what :meth:`finish` gives."""
        return self.in_chans, *self.size

    @property
    def dtype(self) -> torch.dtype:
        """Type of the images that :meth:`prepare` gives: uint8, or float32 in [0, 1]."""
        return torch.uint8 if self.pixel_range is None else torch.float32

    def describe(self, augment: bool) -> str:
        """The protocol in words; `augment`: whether training images are augmented."""
        height, width = self.size
        mirrored = ", mirrored half of the time" if self.mirror else ""
        if self.margin:
            test, train = "images as they are", "shifted by up to 1/8 over black"
        else:
            high, wide = self.canvas
            test = f"scaled to cover {high}×{wide}, the central {height}×{width}"
            train = f"a random {height}×{width} of it"
        more = f", {self.strong.words}" if self.strong else ""
        return f"{test}; training images {train}{mirrored}{more}" if augment else f"{test}; no augmentation"

    def prepare(self, image: Image.Image) -> npt.NDArray[Any]:
        """Bring a decoded image (mode ``L``, ``RGB`` or ``F``) to the size and channels a store keeps.

        Returns:
            The shape of `kept`, uint8, or float32 in [0, 1] where there is a range; maybe not to be written.

        Raises:
                ValueError: 16- or 32-bit pixels whose range is not known, or 8-bit ones among them.
        """
        channels, (height, width) = self.in_chans, self.canvas
        if image.mode == "F":
            image = decode.scaled(image, self.pixel_range)
        elif self.pixel_range is not None and self.one_depth:
            raise ValueError("it has 8 bits a pixel, others have more; needed: one depth, or pixel_range")
        elif image.mode != (mode := "L" if channels == 1 else "RGB"):
            image = image.convert(mode)
        if image.size != (width, height):
            image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        pixels = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None].repeat(channels, axis=0)
        deep = self.pixel_range is not None
        return pixels.astype(np.float32) / 255 if deep and pixels.dtype == np.uint8 else pixels

    def places(self, batch: Batch) -> Tensor | None:
        """Draw where each image of this process's part is cut, and whether it is mirrored.

        Drawn for the global batch, so that each process sees its part of what one would see.

        Returns:
            (B, 3), int64: row, column, and 0 or 1; where there is strong augmentation (B, 4), with a seed;
            None where the batch is not augmented.
        """
        if batch.key is None:
            return None
        rng = generator("augment", *batch.key)
        (y, x), flips = self._room(), 2 if self.mirror else 1
        seeds = [2**62] if self.strong else []
        drawn = [
            torch.randint(n, (len(batch.indices),), generator=rng) for n in (y + 1, x + 1, flips, *seeds)
        ]
        return torch.stack(drawn, dim=1)[batch.shard]

    def finish(self, images: Tensor, places: Tensor | None) -> Tensor:
        """Cut prepared images to the wanted size, and augment them.

        Args:
            images: (B, *kept).
            places: of :meth:`places`; None cuts the centres.

        Returns:
            (B, C, H, W), of the same type.
        """
        height, width = self.size
        room_y, room_x = self._room()
        if places is None:
            if self.margin:
                return images
            y, x = room_y // 2, room_x // 2
            return images[:, :, y : y + height, x : x + width]
        if self.margin:
            images = F.pad(images, (room_x // 2, room_x // 2, room_y // 2, room_y // 2))
        crops = images.unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, C, room_y, room_x, H, W)
        rows, columns, flipped, *seeds = places.unbind(1)
        images = crops[torch.arange(len(images)), :, rows, columns]
        images = torch.where(flipped.bool()[:, None, None, None], images.flip(-1), images)
        return self.strong.each(images, seeds[0]) if self.strong else images

    def stack(self, images: Sequence[Tensor]) -> Tensor:
        """Finished images (C, H, W) as one batch."""
        return torch.stack(list(images))

    def pair(self, images: Tensor, labels: Tensor) -> Labelled:
        """Finished images, (B, *made), and labels (B,) as inputs and targets."""
        return to_float(images), labels

    def _room(self) -> tuple[int, int]:
        """By how many rows and columns the canvas is larger than the wanted size."""
        height, width = self.size
        if self.margin:
            return 2 * max(1, round(height / 8)), 2 * max(1, round(width / 8))
        return self.canvas[0] - height, self.canvas[1] - width
