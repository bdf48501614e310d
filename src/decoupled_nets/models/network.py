"""What every image network is: stages, a map of features, a classifier; and how it is configured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn

from ..nn.operator import Radius
from ..ops.decoupled.operator import Operator, Weighting
from .blocks import Activation, Blocks, Padding
from .layers import PLAIN, Convolution
from .registry import note

#: What timm wants to know of a network's input; mean and deviation are timm's defaults.
CFG: dict[str, Any] = {
    "url": "", "num_classes": 1000, "pool_size": None, "crop_pct": 0.875, "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "classifier": "head",
}  # fmt: skip


class ImageNetwork(nn.Module):
    """Stages one after another, the mean over positions, a linear classifier.

    Networks derive from it, fill ``stages`` and ``feature_info``, and call :meth:`finish_head` last.

    Attributes:
        stages: an ``nn.Sequential``; the output of each is a map of features.
        feature_info: one dict a map: its channels, its reduction against the image, its module.
        num_features: channels of the last map.
        head_hidden_size: what the classifier sees.
        in_chans: channels of the images.
        least_size: of the images, in height and width.
    """

    least_size = 1

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.in_chans = in_chans
        self.feature_info: list[dict[str, Any]] = []
        self.stages = nn.Sequential()

    def add_stage(self, stage: nn.Module, channels: int, reduction: int) -> None:
        """Put a stage at the end."""
        self.feature_info.append(
            {"num_chs": channels, "reduction": reduction, "module": f"stages.{len(self.stages)}"}
        )
        self.stages.append(stage)
        self.num_features = channels

    def finish_head(
        self, num_classes: int, drop_rate: float = 0.0, features: int | None = None, hidden: int | None = None
    ) -> None:
        """Add dropout and classifier.

        Args:
            num_classes: outputs; 0 gives the features.
            drop_rate: dropout before the classifier.
            features: size of a linear layer put before the classifier; None for none.
            hidden: what the network's own head gives; None for the channels of the last map.

        Raises:
            ValueError: `features` is below 1.
        """
        size = self.num_features if hidden is None else hidden
        self.neck: nn.Module = nn.Identity()
        if features is not None:
            if features < 1:
                raise ValueError(f"features = {features} received; needed: at least 1")
            self.neck = nn.Linear(size, features)
            size = features
        self.head_hidden_size = size
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes)

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, in_chans, H, W) to the last map, (B, num_features, H', W').

        Raises:
            ValueError: the images have other channels, or are too small.
        """
        check_images(images, self.in_chans, self.least_size)
        return self.stages(images)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last map to logits, or with `pre_logits` to what the classifier sees."""
        x = self.head_drop(self.neck(x.mean((2, 3))))
        return x if pre_logits else self.head(x)

    def get_classifier(self) -> nn.Module:
        """The linear classifier."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new classifier in place, of the device and type of the other weights.

        Args:
            num_classes: 0 leaves the features.
            global_pool: timm's name of a pooling; there is but ``"avg"``, which None keeps.

        Raises:
            ValueError: fewer classes than 0, or another pooling.
        """
        if num_classes < 0:
            raise ValueError(f"num_classes = {num_classes} received; needed: at least 0")
        if global_pool not in (None, "avg"):
            raise ValueError(f"global_pool = {global_pool!r} received; needed: None or 'avg'")
        like = next(self.parameters())
        made: dict[str, Any] = {"device": like.device, "dtype": like.dtype}
        self.num_classes = num_classes
        self.head = nn.Linear(self.head_hidden_size, num_classes, **made) if num_classes else nn.Identity()
        note(self, num_classes=num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, in_chans, H, W) to (B, num_classes)."""
        return self.forward_head(self.forward_features(images))


def check_images(images: Tensor, in_chans: int, least_size: int) -> None:
    """Refuse what a network cannot take, before one of its layers does in its own words.

    Raises:
        ValueError: not (B, in_chans, H, W) with H and W of `least_size` or more.
    """
    if images.dim() != 4 or images.shape[1] != in_chans:
        raise ValueError(f"images of shape {tuple(images.shape)} received; needed: (B, {in_chans}, H, W)")
    if min(images.shape[-2:]) < least_size:
        raise ValueError(
            f"images of size {tuple(images.shape[-2:])} received; needed: at least {least_size}²"
        )


# Whoever traces a network symbolically keeps the check as one call.
fx.wrap("check_images")


def make_blocks(
    *,
    operator: Operator | str = PLAIN,
    radius: Radius = "relative",
    weighting: Weighting | None = None,
    width: float = 1.0,
    batch_norm: bool = True,
    relu: bool = True,
    padding: Padding = "symmetric",
    activation: Activation = "relu",
    bn_eps: float = 1e-5,
) -> Blocks:
    """:class:`Blocks` from the options of :func:`build`."""
    convolution = Convolution(operator, radius, weighting)
    return Blocks(convolution, width, batch_norm, relu, padding, activation, bn_eps)


def build(
    network: Any,
    image_size: int,
    num_classes: int = 1000,
    in_chans: int = 3,
    *,
    features: int | None = None,
    drop_rate: float = 0.0,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """The options that all networks of this package share.

    Args:
        network: called with blocks, num_classes, in_chans, features and drop_rate.
        image_size: of the images it is meant for.
        num_classes: outputs; 0 gives the features.
        in_chans: channels of the images.
        features: size of a linear layer put before the classifier; 2 makes the features a picture.
        drop_rate: dropout before the classifier.
        features_only: the maps of the stages instead of logits, in timm's wrapper for that.
        out_indices: which maps; None for all.
        pretrained_cfg: timm's; what a network knows of itself goes before it.
        pretrained_cfg_overlay: timm's; this goes before that.
        **options: ``operator`` (``"conv"`` for plain convolution), ``radius``, ``weighting``, ``width``
            (multiplies channel counts), ``batch_norm``, ``relu`` (whether there are activations),
            ``padding`` (``"symmetric"`` or ``"same_tf"``), ``activation`` (``"relu"`` or ``"prelu"``),
            ``bn_eps`` (epsilon of BatchNorm).

    Raises:
        ValueError: an option is out of range.
        ImportError: features_only without timm.
    """
    made = network(make_blocks(**options), num_classes, in_chans, features, drop_rate)
    return finish(made, image_size, features_only, out_indices, pretrained_cfg, pretrained_cfg_overlay)


def finish(
    model: Any,
    image_size: int,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
) -> nn.Module:
    """Give a network what timm's tools read, and wrap it where only its features are wanted."""
    first = next(name for name, m in model.named_modules() if isinstance(m, nn.Conv2d))
    size = {"input_size": (3, image_size, image_size), "first_conv": first}
    given = {} if pretrained_cfg is None else dict(getattr(pretrained_cfg, "__dict__", pretrained_cfg))
    model.pretrained_cfg = model.default_cfg = {**given, **CFG, **size, **(pretrained_cfg_overlay or {})}
    if not features_only:
        return model
    from timm.models import FeatureListNet  # only those who want features need timm

    indices = tuple(range(len(model.feature_info))) if out_indices is None else tuple(out_indices)
    features: Any = FeatureListNet(model, out_indices=indices, flatten_sequential=True)
    features.pretrained_cfg = features.default_cfg = model.pretrained_cfg
    return features
