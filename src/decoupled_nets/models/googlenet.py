"""GoogLeNet for images of 224² and of 32²."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .blocks import Blocks
from .network import ImageNetwork, build
from .registry import register_alias, register_model


class Branches(NamedTuple):
    """Channels of an inception block: 1×1; 3×3 and 5×5, each behind a reduction; behind the pooling."""

    one: int
    reduce3: int
    three: int
    reduce5: int
    five: int
    pooled: int


STAGES = (
    (Branches(64, 96, 128, 16, 32, 32), Branches(128, 128, 192, 32, 96, 64)),
    (
        Branches(192, 96, 208, 16, 48, 64),
        Branches(160, 112, 224, 24, 64, 64),
        Branches(128, 128, 256, 24, 64, 64),
        Branches(112, 144, 288, 32, 64, 64),
        Branches(256, 160, 320, 32, 128, 128),
    ),
    (Branches(256, 160, 320, 32, 128, 128), Branches(384, 192, 384, 48, 128, 128)),
)
STEM = 192


class Inception(nn.Module):
    """Four branches side by side, their channels joined.

    Args:
        blocks: what the convolutions are.
        inputs: channels.
        branches: channels of the branches.
        scaled: scale the joined responses also without BatchNorm.
    """

    def __init__(self, blocks: Blocks, inputs: int, branches: Branches, scaled: bool = False) -> None:
        super().__init__()
        b = Branches(*map(blocks.channels, branches))
        self.channels = b.one + b.three + b.five + b.pooled
        self.one = blocks.conv(inputs, b.one, 1, scaled=scaled)
        self.three = nn.Sequential(
            blocks.conv(inputs, b.reduce3, 1), blocks.conv(b.reduce3, b.three, 3, scaled=scaled)
        )
        self.five = nn.Sequential(
            blocks.conv(inputs, b.reduce5, 1), blocks.conv(b.reduce5, b.five, 5, scaled=scaled)
        )
        self.pooled = nn.Sequential(
            nn.MaxPool2d(3, 1, padding=1), blocks.conv(inputs, b.pooled, 1, scaled=scaled)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, channels, H, W)."""
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)


class GoogLeNet(ImageNetwork):
    """Nine inception blocks in three stages.

    The paper's channel table, with its 5×5 convolutions. Local response normalisation is left out, BatchNorm
    may follow each convolution instead; so are the two auxiliary classifiers. For 224² images a 7×7/2, a 1×1
    and a 3×3 convolution with two poolings come before, for 32² images one 3×3 convolution with as many
    channels. The branches of the last block have α and β scaled for responses of unit variance also without
    BatchNorm, the others before a BatchNorm only.

    Args:
        small: whether it is the form for 32² images.
        blocks: what the convolutions are.
        num_classes: outputs; 0 gives the features.
        in_chans: channels of the images.
        features: size of a linear layer put before the classifier.
        drop_rate: dropout before the classifier; the paper has 0.4.

    Source: C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, table 1.
    """

    def __init__(
        self,
        small: bool,
        blocks: Blocks,
        num_classes: int,
        in_chans: int,
        features: int | None = None,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(in_chans)
        self.least_size = 8 if small else 32
        channels = blocks.channels(STEM)
        if small:
            self.add_stage(blocks.conv(in_chans, channels, 3), channels, 1)
        else:
            narrow = blocks.channels(64)
            self.add_stage(blocks.conv(in_chans, narrow, 7, 2), narrow, 2)
            convs = (blocks.conv(narrow, narrow, 1), blocks.conv(narrow, channels, 3))
            self.add_stage(nn.Sequential(blocks.max_pool(), *convs), channels, 4)
        for i, table in enumerate(STAGES):
            stage = nn.Sequential(*([] if small and i == 0 else [blocks.max_pool()]))
            for branches in table:
                last = i == len(STAGES) - 1 and branches is table[-1]
                block = Inception(blocks, channels, branches, scaled=last)
                channels = block.channels
                stage.append(block)
            self.add_stage(stage, channels, 2**i if small else 2 ** (3 + i))
        self.finish_head(num_classes, drop_rate, features)


@register_model
def imagenet_googlenet(**options: Any) -> nn.Module:
    """GoogLeNet for 224² images; options as in :func:`decoupled_nets.models.network.build`."""
    return build(partial(GoogLeNet, False), 224, **options)


@register_model
def cifar_googlenet(**options: Any) -> nn.Module:
    """GoogLeNet for 32² images; options as in :func:`decoupled_nets.models.network.build`."""
    return build(partial(GoogLeNet, True), 32, **options)


register_alias("googlenet", "imagenet_googlenet")
