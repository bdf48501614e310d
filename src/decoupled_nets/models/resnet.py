"""Residual networks: the standard ResNet-18, and the two of the decoupled networks' released code."""

from __future__ import annotations

from typing import Any

from torch import nn

from .blocks import Blocks, Unit
from .network import ImageNetwork, build
from .registry import register_alias, register_model


class ResNet18(ImageNetwork):
    """ResNet-18: a 7×7 convolution, a pooling, four stages of two basic blocks.

    Shortcuts that change shape are plain 1×1 convolutions. Without BatchNorm the second convolution of every
    block has α and β scaled all the same, for it is added to the shortcut.

    Args:
        blocks: what the convolutions are.
        num_classes: outputs; 0 gives the features.
        in_chans: channels of the images.
        features: size of a linear layer put before the classifier.
        drop_rate: dropout before the classifier.

    Source: K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1.
    """

    least_size = 32

    def __init__(
        self,
        blocks: Blocks,
        num_classes: int,
        in_chans: int,
        features: int | None = None,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(in_chans)
        channels = blocks.channels(64)
        self.add_stage(blocks.conv(in_chans, channels, 7, 2), channels, 2)
        for i in range(4):
            width = blocks.channels(64 * 2**i)
            stage = nn.Sequential(*([] if i else [blocks.max_pool()]))
            stage.append(Unit(blocks, channels, width, 2 if i else 1))
            stage.append(Unit(blocks, width, width))
            channels = width
            self.add_stage(stage, channels, 4 * 2**i)
        self.finish_head(num_classes, drop_rate, features)


class CifarResNet(ImageNetwork):
    """A 3×3 convolution without activation, then three stages of basic blocks at 1, 1/2 and 1/4 of the size.

    Shortcuts that change shape are plain 1×1 convolutions with BatchNorm, as in the released code.

    Args:
        blocks: what the convolutions are.
        num_classes: outputs; 0 gives the features.
        in_chans: channels of the images.
        features: size of a linear layer put before the classifier.
        drop_rate: dropout before the classifier.
        units: basic blocks of a stage.

    Source: the decoupled networks' released code for CIFAR-100, where `units` is 5.
    """

    least_size = 8

    def __init__(
        self,
        blocks: Blocks,
        num_classes: int,
        in_chans: int,
        features: int | None = None,
        drop_rate: float = 0.0,
        units: int = 5,
    ) -> None:
        super().__init__(in_chans)
        channels = blocks.channels(96)
        self.add_stage(blocks.conv(in_chans, channels, 3, active=False), channels, 1)
        for i in range(3):
            width = blocks.channels(96 * 2**i)
            stage = nn.Sequential(Unit(blocks, channels, width, 2 if i else 1))
            stage.extend([Unit(blocks, width, width) for _ in range(units - 1)])
            channels = width
            self.add_stage(stage, channels, 2**i)
        self.finish_head(num_classes, drop_rate, features)


class ModifiedResNet18(ImageNetwork):
    """The released ImageNet network: one convolution changes size and width, then units with plain sums.

    7×7/2 convolution, pooling, one unit of 128 channels; 3×3/2 convolutions to 256, 512 and 1024 channels
    with two, three and one units behind them. A unit is two 3×3 convolutions and an identity shortcut, with
    no activation after the sum. Every convolution but a unit's second is followed by a PReLU.

    Args:
        blocks: what the convolutions are.
        num_classes: outputs; 0 gives the features.
        in_chans: channels of the images.
        features: size of a linear layer put before the classifier.
        drop_rate: dropout before the classifier.

    Source: the decoupled networks' released code for ImageNet.
    """

    least_size = 32

    def __init__(
        self,
        blocks: Blocks,
        num_classes: int,
        in_chans: int,
        features: int | None = None,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(in_chans)
        channels = blocks.channels(128)
        self.add_stage(blocks.conv(in_chans, channels, 7, 2), channels, 2)
        for i, units in enumerate((1, 2, 3, 1)):
            width = blocks.channels(128 * 2**i)
            stage = nn.Sequential(blocks.conv(channels, width, 3, 2) if i else blocks.max_pool())
            stage.extend([Unit(blocks, width, width, final_activation=False) for _ in range(units)])
            channels = width
            self.add_stage(stage, channels, 4 * 2**i)
        self.finish_head(num_classes, drop_rate, features)


@register_model
def imagenet_resnet18(**options: Any) -> nn.Module:
    """ResNet-18 for 224² images; options as in :func:`decoupled_nets.models.network.build`."""
    return build(ResNet18, 224, **options)


@register_model
def cifar_resnet32(**options: Any) -> nn.Module:
    """The released code's ResNet-32 for 32² images, 96 to 384 channels wide; also known as ``resnet32``.

    By default padded as in TensorFlow, with BatchNorm's epsilon at 1e-3. Options as in
    :func:`decoupled_nets.models.network.build`.
    """
    return build(CifarResNet, 32, **{"padding": "same_tf", "bn_eps": 1e-3, **options})


@register_model
def modified_resnet18(**options: Any) -> nn.Module:
    """The released code's "modified ResNet-18" for 224² images, with PReLU; ``relu=False`` leaves it out.

    By default padded as in TensorFlow, with BatchNorm's epsilon at 1e-3. Options as in
    :func:`decoupled_nets.models.network.build`.
    """
    released = {"padding": "same_tf", "activation": "prelu", "bn_eps": 1e-3}
    return build(ModifiedResNet18, 224, **{**released, **options})


register_alias("resnet18", "imagenet_resnet18")
register_alias("resnet32", "cifar_resnet32", listed=True)
