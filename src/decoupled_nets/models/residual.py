"""timm's ResNet with other spatial convolutions. Imports timm: imported when a network is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from timm.models import build_model_with_cfg
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from .registry import note
from .spatial import SpatialConvolution


@dataclass(frozen=True)
class Form:
    """What distinguishes our residual networks beside timm's own options.

    Args:
        spatial: what takes the place of the blocks' 3×3 convolutions.
        small_stem: one 3×3 convolution and no pooling, for images of about 32².
        features: size of a linear layer put before the classifier; 2 makes features a picture.
    """

    spatial: SpatialConvolution
    small_stem: bool = False
    features: int | None = None


class SpatialResNet(ResNet):
    """timm's ResNet; the 3×3 convolutions of its blocks are replaced once everything else has its weights.

    Networks that differ in the spatial convolution only, built from one seed, therefore share all else.

    Args:
        form: see :class:`Form`.
        **options: of ``timm.models.resnet.ResNet``; ``output_stride`` is the network's own: 8, 16 or 32, with
            the small stem 2, 4 or 8.

    Raises:
        ValueError: the output stride is another.
    """

    def __init__(self, form: Form, **options: Any) -> None:
        # The small stem keeps the size; timm's ResNet reckons with one that divides it by 4.
        stem_stride = 1 if form.small_stem else 4
        possible = [2 * stem_stride, 4 * stem_stride, 8 * stem_stride]
        output_stride = options.pop("output_stride", possible[-1])
        if output_stride not in possible:
            raise ValueError(f"output_stride = {output_stride!r} received; needed: one of {possible}")
        super().__init__(**options, output_stride=output_stride * 4 // stem_stride)
        self.neck: nn.Module = nn.Identity()
        self.neck_features = form.features
        if form.small_stem:
            self._shrink_stem(options["in_chans"])
        if form.features is not None:
            if not self.global_pool.pool_type:
                raise ValueError(
                    f"features = {form.features} and global_pool = '' received; needed: a pooling"
                )
            self.reset_classifier(options["num_classes"])
        for block in self.modules():
            if isinstance(block, Bottleneck):
                block.conv2 = form.spatial(block.conv2)  # type: ignore[assignment]
            elif isinstance(block, BasicBlock):
                block.conv1 = form.spatial.mixing(block.conv1)  # type: ignore[assignment]
                block.conv2 = form.spatial.mixing(block.conv2)  # type: ignore[assignment]

    def _shrink_stem(self, in_chans: int) -> None:
        old: Any = self.conv1
        made = {"device": old.weight.device, "dtype": old.weight.dtype}
        stem = nn.Conv2d(in_chans, old.out_channels, 3, padding=1, bias=False, **made)
        # By the inputs: so few of them under many kernels would give responses far below the scale at which
        # BatchNorm's running statistics start.
        nn.init.kaiming_normal_(stem.weight, nonlinearity="relu")
        self.conv1, self.maxpool = stem, nn.Identity()  # type: ignore[assignment]
        stages: list[dict[str, Any]] = self.feature_info
        for stage in stages:
            stage["reduction"] = max(1, stage["reduction"] // 4)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new classifier in place.

        Args:
            num_classes: 0 leaves the features.
            global_pool: timm's name of a pooling; ``""`` leaves the map, and takes the layer of `features`
                away with it. None keeps the pooling.
        """
        pooling = self.global_pool.pool_type if global_pool is None else global_pool
        super().reset_classifier(0 if self.neck_features else num_classes, pooling)
        note(self, num_classes=num_classes, **({} if global_pool is None else {"global_pool": global_pool}))
        if self.neck_features is None:
            return
        if not pooling:
            self.neck, self.neck_features = nn.Identity(), None
            note(self, features=None)
            return
        first = next(self.parameters())
        like: dict[str, Any] = {"device": first.device, "dtype": first.dtype}
        pooled = self.num_features * self.global_pool.feat_mult()
        if not (isinstance(self.neck, nn.Linear) and self.neck.in_features == pooled):
            self.neck = nn.Linear(pooled, self.neck_features, **like)
        self.num_classes, self.head_hidden_size = num_classes, self.neck_features
        if num_classes:
            self.fc = nn.Linear(self.head_hidden_size, num_classes, **like)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The map of features to logits, or with `pre_logits` to what the classifier sees."""
        x = self.neck(self.global_pool(x))
        if self.drop_rate:
            x = nn.functional.dropout(x, p=float(self.drop_rate), training=self.training)
        return x if pre_logits else self.fc(x)


def build(variant: str, basic: bool, form: Form, cfg: dict[str, Any], options: dict[str, Any]) -> nn.Module:
    """The network, or with ``features_only`` among the options timm's wrapper around it."""
    return build_model_with_cfg(
        SpatialResNet, variant, pretrained=False, pretrained_cfg=cfg, form=form,
        block=BasicBlock if basic else Bottleneck, **options,
    )  # fmt: skip
