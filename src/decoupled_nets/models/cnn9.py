"""CNN-9: nine 3×3 convolutions in three stages, the network of the paper's CIFAR experiments."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .blocks import Activation, Blocks
from .layers import Convolution
from .network import ImageNetwork, build
from .registry import register_alias, register_model

STAGES = (128, 192, 256)
FEATURES = 256


class CNN9(ImageNetwork):
    """3×[3×3, 128], pool, 3×[3×3, 192], pool, 3×[3×3, 256], pool, 4×4 to the features, linear classifier.

    The layer table is SphereNet's (NIPS 2017, by the same authors), the best candidate for the CNN-9 of
    Decoupled Networks. The last convolution has neither BatchNorm nor ReLU. Pooling rounds up, so that 28²
    images fit as well as 32²; of larger ones the features are averaged. The last convolution, and those
    before a BatchNorm, have α and β scaled to responses of unit variance; the others the operator's own.

    Args:
        num_classes: outputs; 0 gives the features.
        in_chans: input channels.
        convolution: what the ten convolutions are.
        width: multiplies the channel counts.
        batch_norm: BatchNorm after each 3×3 convolution (which then has no bias).
        relu: ReLU after each 3×3 convolution.
        features: channels of the last convolution; None takes 256 × width. 2 makes them a picture.
        drop_rate: dropout before the classifier.
        activation: ``"prelu"`` puts a slope a channel, which starts at 0, in the place of ReLU.
        bn_eps: epsilon of BatchNorm.

    Raises:
        ValueError: width or features is too small, or there is no such activation.
    """

    least_size = 25

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        convolution: Convolution,
        width: float = 1.0,
        batch_norm: bool = True,
        relu: bool = True,
        features: int | None = None,
        drop_rate: float = 0.0,
        activation: Activation = "relu",
        bn_eps: float = 1e-5,
    ) -> None:
        super().__init__(in_chans)
        blocks = Blocks(convolution, width, batch_norm, relu, activation=activation, bn_eps=bn_eps)
        widths = [round(w * width) for w in STAGES]
        features = round(FEATURES * width) if features is None else features
        if min(*widths, features) < 1:
            raise ValueError(
                f"width = {width} and features = {features} received; needed: at least 1 channel"
            )
        channels = in_chans
        for i, w in enumerate(widths):
            self.add_stage(_stage(channels, w, blocks), w, 2 ** (i + 1))
            channels = w
        self.last = convolution.unit_variance(16 * channels)(channels, features, 4, bias=not batch_norm)
        self.num_features = features
        self.finish_head(num_classes, drop_rate)

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, in_chans, H, W) to the last convolution's output, (B, features, H', W').

        Raises:
            ValueError: the images have other channels, or are smaller than 25×25.
        """
        return self.last(super().forward_features(images))


def _stage(channels: int, width: int, blocks: Blocks) -> nn.Sequential:
    layers = nn.Sequential()
    for i in range(3):
        inputs = width if i else channels
        layer = blocks.convolution.unit_variance(9 * inputs) if blocks.batch_norm else blocks.convolution
        layers.append(layer(inputs, width, 3, padding=1, bias=not blocks.batch_norm))
        if blocks.batch_norm:
            layers.append(nn.BatchNorm2d(width, eps=blocks.bn_eps))
        layers.extend(blocks.activations(width))
    layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return layers


def _from_blocks(
    blocks: Blocks, num_classes: int, in_chans: int, features: int | None, drop_rate: float
) -> CNN9:
    # Either padding is the same here: no convolution has a stride, and the pooling rounds up.
    made = (blocks.convolution, blocks.width, blocks.batch_norm, blocks.relu)
    return CNN9(num_classes, in_chans, *made, features, drop_rate, blocks.activation, blocks.bn_eps)


@register_model
def cnn9(**options: Any) -> nn.Module:
    """CNN-9; see :class:`CNN9`, and for the options :func:`decoupled_nets.models.network.build`.

    ``features`` is the number of channels of the last convolution.
    """
    return build(_from_blocks, 32, **options)


register_alias("cifar_cnn9", "cnn9", listed=True)
