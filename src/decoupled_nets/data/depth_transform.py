"""From an image and its depth map to what a network is given: the image and a map with fewer samples.

B: batch, C: channels of the image, H, W: height and width, s: scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ..ops.resample import Degradation, degrade, hold
from .batches import Batch, Labelled
from .depth_values import Values, filled
from .sampling import generator
from .transform import Transform


@dataclass(frozen=True)
class DepthTransform(Transform):
    """How pairs become inputs and targets; nothing is ever scaled but the depth map, which is made smaller.

    Attributes:
        scale: s.
        degradation: How the map is made smaller.
        zeros: Whether 0 says that there is no depth.
        crop: Whether images are cut to `size`; else they are whole, up to multiples of the scale.
    """

    scale: int = 4
    degradation: Degradation = "pick"
    zeros: bool = False
    crop: bool = False

    @property
    def made(self) -> tuple[int, int, int]:
        """Shape (C + 2, H, W) of what :meth:`finish` gives."""
        return self.in_chans + 2, *self.size

    @property
    def dtype(self) -> torch.dtype:
        """Depth is kept as it is stored."""
        return torch.float32

    def describe(self, augment: bool) -> str:
        """The protocol in words."""
        height, width = self.size
        which = "random" if augment else "the central"
        mirrored = ", mirrored half of the time" if augment and self.mirror else ""
        return (
            f"whole, cut to multiples of {self.scale}; training images {which} {height}×{width} of"
            f" them{mirrored}"
        )

    def prepare(self, image: Image.Image, depth: Values | None = None) -> npt.NDArray[Any]:
        """A decoded image and its map: (C + 2, H, W), the map with NaN for no depth, and without gaps.

        Raises:
            ValueError: the image has more than 8 bits, or the map another size.
        """
        assert depth is not None
        check_alike(depth.shape, image.size[::-1])
        if image.mode == "F":
            raise ValueError("its image has 16 or 32 bits a pixel; needed: 8 a channel")
        pixels = np.asarray(image.convert("L" if self.in_chans == 1 else "RGB"), dtype=np.float32) / 255
        pixels = pixels.reshape(*depth.shape, self.in_chans).transpose(2, 0, 1)
        known = known_of(depth, self.zeros)
        whole = filled(torch.from_numpy(known)).numpy()
        height, width = (n // self.scale * self.scale for n in depth.shape)
        return np.concatenate([pixels, known[None], whole[None]])[:, :height, :width]

    def places(self, batch: Batch) -> Tensor | None:
        """Draw where each image of this process's part is cut, and whether it is mirrored: (B, 3), int64."""
        if batch.key is None or not self.crop:
            return None
        rng = generator("augment", *batch.key)
        drawn = torch.randint(2**62, (3, len(batch.indices)), generator=rng)
        return drawn.T[batch.shard]

    def finish(self, images: Tensor, places: Tensor | None) -> Tensor:
        """Cut prepared pairs of one size, (B, C + 2, H, W), each at its place; None cuts the centres."""
        if not self.crop:
            return images
        height, width = self.size
        room = images.shape[-2] - height, images.shape[-1] - width
        cut = []
        for k, one in enumerate(images):
            y, x, turn = room[0] // 2, room[1] // 2, 0
            if places is not None:
                (y, x), turn = (int(places[k, i]) % (room[i] + 1) for i in (0, 1)), int(places[k, 2]) % 2
            part = one[:, y : y + height, x : x + width]
            cut.append(part.flip(-1) if turn and self.mirror else part)
        return torch.stack(cut) if cut else images[..., :height, :width]

    def stack(self, images: Sequence[Tensor]) -> Tensor:
        """Pairs as one batch; of unlike sizes the centres, as large as the smallest allows."""
        height, width = (min(one.shape[axis] for one in images) for axis in (-2, -1))
        cut = []
        for one in images:
            y, x = (one.shape[-2] - height) // 2, (one.shape[-1] - width) // 2
            cut.append(one[..., y : y + height, x : x + width])
        return torch.stack(cut)

    def pair(self, images: Tensor, labels: Tensor) -> Labelled:
        """Finished pairs as inputs and targets.

        Returns:
            Inputs (B, C + 1, H, W): the image in [0, 1], and the small map, every sample s × s times. Targets
            (B, 2, H, W): depth, NaN where there is none, and the same small map.
        """
        low = hold(degrade(images[:, -1:], self.scale, self.degradation), self.scale)
        return torch.cat([images[:, :-2], low], 1), torch.cat([images[:, -2:-1], low], 1)


def check_alike(depth: tuple[int, ...], image: tuple[int, int]) -> None:
    """Refuse a map of another height and width than its image.

    Raises:
        ValueError: they differ.
    """
    if tuple(depth) != tuple(image):
        raise ValueError(
            f"it has {depth[0]}×{depth[1]} values and its image {image[0]}×{image[1]} pixels; needed: the"
            " same, as the small maps are made here, of whole ones"
        )


def known_of(depth: Values, zeros: bool) -> Values:
    """Values with NaN for no depth; `zeros`: 0 says so."""
    return np.where(depth == 0, np.float32("nan"), depth) if zeros else depth
