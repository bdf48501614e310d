"""Networks that give every pixel its classes: one of ours, and what other libraries' need around them.

B: batch, C: channels, K: classes, H, W: height and width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OWN = "unet"
_MULTIPLE = 32  # what the sides of other libraries' networks' inputs have to be multiples of, at most
_STAGES = (32, 64, 128, 256)


class UNet(nn.Module):
    """A small U-Net (Ronneberger et al., 2015) for images of any size from 8 pixels on.

    Four stages of two 3×3 convolutions, pooled in between; bilinear upsampling to the skip's size, and two
    convolutions of both together.

    Args:
        classes: K.
        in_chans: channels of the images.
        width: multiplies the channels.
        batch_norm: BatchNorm after the convolutions.
        relu: ReLU after the convolutions.

    Raises:
        ValueError: a width that leaves no channel.
    """

    def __init__(
        self, classes: int, in_chans: int = 3, width: float = 1.0, batch_norm: bool = True, relu: bool = True
    ) -> None:
        super().__init__()
        sizes = [max(4, round(size * width)) for size in _STAGES]
        if not width > 0 or not math.isfinite(width):
            raise ValueError(f"width = {width} received; needed: a positive number")

        def block(before: int, after: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for channels in (before, after):
                layers.append(nn.Conv2d(channels, after, 3, padding=1, bias=not batch_norm))
                layers += [nn.BatchNorm2d(after)] if batch_norm else []
                layers += [nn.ReLU()] if relu else []
            return nn.Sequential(*layers)

        self.down = nn.ModuleList(map(block, [in_chans, *sizes], sizes))
        pairs = zip(sizes[:0:-1], sizes[-2::-1], strict=True)
        self.up = nn.ModuleList(block(below + skip, skip) for below, skip in pairs)
        self.head = nn.Conv2d(sizes[0], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, in_chans, H, W) to logits (B, K, H, W).

        Raises:
            ValueError: images of fewer than 8 rows or columns.
        """
        if min(images.shape[-2:]) < 8:
            raise ValueError(f"images of size {tuple(images.shape[-2:])} received; needed: at least 8²")
        x, skips = images, []
        for number, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if number else x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], 1))
        return self.head(x)


class WholeImage(nn.Module):
    """Another library's network for images of any size: padded to what it takes, its logits as large.

    Args:
        network: gives logits, or a dict with them under ``out``.
        in_chans: channels that it takes; grey images are repeated.
    """

    def __init__(self, network: nn.Module, in_chans: int) -> None:
        super().__init__()
        self.network = network
        self.in_chans = in_chans

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, K, H, W)."""
        height, width = images.shape[-2:]
        if images.shape[1] == 1 and self.in_chans > 1:
            images = images.expand(-1, self.in_chans, -1, -1)
        padded = F.pad(images, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE), mode="replicate")
        logits = self.network(padded)
        logits = logits["out"] if isinstance(logits, dict) else logits
        if logits.shape[-2:] != padded.shape[-2:]:
            logits = F.interpolate(logits, padded.shape[-2:], mode="bilinear", align_corners=False)
        return logits[..., :height, :width]
