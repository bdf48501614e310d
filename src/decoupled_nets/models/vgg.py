"""VGG networks for images of 224² and of 32²."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from .blocks import Blocks
from .layers import Convolution
from .network import ImageNetwork, build
from .registry import register_alias, register_model

CHANNELS = (64, 128, 256, 512, 512)
VGG11 = (1, 1, 2, 2, 2)
VGG16 = (2, 2, 3, 3, 3)
HIDDEN = 4096


class VGG(ImageNetwork):
    """Five stages of 3×3 convolutions with 2×2 maxima between them.

    For 224² images two plain linear layers of 4096 features stand before the classifier; they are written as
    a 7×7 and a 1×1 convolution, so that larger images are averaged over positions. For 32² images there are
    none. The maxima then round up: 28² images fit too. The last convolution has α and β scaled for responses
    of unit variance also without BatchNorm, the others before a BatchNorm only.

    Args:
        depths: convolutions of each stage.
        small: whether it is the form for 32² images.
        blocks: what the convolutions are.
        num_classes: outputs; 0 gives the features.
        in_chans: channels of the images.
        features: size of a linear layer put before the classifier.
        drop_rate: dropout before the classifier, and behind each of the hidden linear layers.

    Source: K. Simonyan and A. Zisserman, ICLR 2015, configurations A and D.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        small: bool,
        blocks: Blocks,
        num_classes: int,
        in_chans: int,
        features: int | None = None,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(in_chans)
        self.least_size = 8 if small else 224
        channels = in_chans
        for i, (count, depth) in enumerate(zip(CHANNELS, depths, strict=True)):
            width = blocks.channels(count)
            stage = nn.Sequential(*([nn.MaxPool2d(2, ceil_mode=small)] if i else []))
            for j in range(depth):
                last = i == len(depths) - 1 and j == depth - 1
                stage.append(blocks.conv(channels, width, 3, scaled=last))
                channels = width
            self.add_stage(stage, channels, 2**i)
        self.add_stage(nn.MaxPool2d(2, ceil_mode=small), channels, 32)
        self.hidden = nn.Sequential()
        if not small:
            hidden = blocks.channels(HIDDEN)
            for inputs, kernel in ((channels, 7), (hidden, 1)):
                self.hidden.extend([Convolution()(inputs, hidden, kernel), nn.ReLU(), nn.Dropout(drop_rate)])
        # Behind the hidden layers there was dropout already.
        rate = drop_rate if small else 0.0
        self.finish_head(num_classes, rate, features, None if small else hidden)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last map to logits, or with `pre_logits` to what the classifier sees."""
        return super().forward_head(self.hidden(x), pre_logits)


@register_model
def imagenet_vgg11(**options: Any) -> nn.Module:
    """VGG-11 for 224² images; options as in :func:`decoupled_nets.models.network.build`."""
    return build(partial(VGG, VGG11, False), 224, **options)


@register_model
def imagenet_vgg16(**options: Any) -> nn.Module:
    """VGG-16 for 224² images; options as in :func:`decoupled_nets.models.network.build`."""
    return build(partial(VGG, VGG16, False), 224, **options)


@register_model
def cifar_vgg11(**options: Any) -> nn.Module:
    """VGG-11 for 32² images; options as in :func:`decoupled_nets.models.network.build`."""
    return build(partial(VGG, VGG11, True), 32, **options)


@register_model
def cifar_vgg16(**options: Any) -> nn.Module:
    """VGG-16 for 32² images; options as in :func:`decoupled_nets.models.network.build`."""
    return build(partial(VGG, VGG16, True), 32, **options)


register_alias("vgg11", "imagenet_vgg11")
register_alias("vgg16", "imagenet_vgg16")
