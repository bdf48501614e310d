"""CNN-9: nine 3×3 convolutions in three stages, the network of the paper's CIFAR experiments."""

from __future__ import annotations

from torch import Tensor, fx, nn

from ..nn.operator import Radius
from ..ops.operator import Operator, Weighting
from .layers import PLAIN, Convolution, check_image_size
from .registry import register_model

fx.wrap("check_image_size")  # a tracer takes it as one step, without looking inside

STAGES = (128, 192, 256)
FEATURES = 256
LEAST_SIZE = 25


class CNN9(nn.Module):
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

    Raises:
        ValueError: width or features is too small.
    """

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
    ) -> None:
        super().__init__()
        widths = [round(w * width) for w in STAGES]
        features = round(FEATURES * width) if features is None else features
        if min(*widths, features) < 1:
            raise ValueError(f"width = {width} and features = {features} received, at least 1 channel needed")
        self.num_features = features
        self.stages = nn.Sequential()
        channels = in_chans
        for w in widths:
            self.stages.append(_stage(channels, w, convolution, batch_norm, relu))
            channels = w
        self.last = convolution.unit_variance(16 * channels)(channels, features, 4, bias=not batch_norm)
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes)

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, in_chans, H, W) to the last convolution's output, (B, features, H', W').

        Raises:
            ValueError: the images are smaller than 25×25.
        """
        check_image_size(images, LEAST_SIZE)
        return self.last(self.stages(images))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The map of features to logits, or with `pre_logits` to its mean over positions (B, features)."""
        x = self.head_drop(x.mean((2, 3)))
        return x if pre_logits else self.head(x)

    def get_classifier(self) -> nn.Module:
        """The linear classifier."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new classifier in place; 0 classes leave the features."""
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """(B, in_chans, H, W) to (B, num_classes)."""
        return self.forward_head(self.forward_features(images))


def _stage(
    channels: int, width: int, convolution: Convolution, batch_norm: bool, relu: bool
) -> nn.Sequential:
    layers = nn.Sequential()
    for i in range(3):
        inputs = width if i else channels
        layer = convolution.unit_variance(9 * inputs) if batch_norm else convolution
        layers.append(layer(inputs, width, 3, padding=1, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        if relu:
            layers.append(nn.ReLU(inplace=True))
    layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return layers


@register_model
def cnn9(
    num_classes: int = 1000,
    in_chans: int = 3,
    *,
    operator: Operator | str = PLAIN,
    radius: Radius = "relative",
    weighting: Weighting | None = None,
    width: float = 1.0,
    batch_norm: bool = True,
    relu: bool = True,
    features: int | None = None,
    drop_rate: float = 0.0,
) -> CNN9:
    """CNN-9; see :class:`CNN9`. `operator` is ``"conv"`` for plain convolution."""
    convolution = Convolution(operator, radius, weighting)
    return CNN9(num_classes, in_chans, convolution, width, batch_norm, relu, features, drop_rate)
