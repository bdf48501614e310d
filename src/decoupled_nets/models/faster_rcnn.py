"""Faster R-CNN of any width over a ResNet-18 with a feature pyramid, of torchvision's parts.

B: batch, C: channels, H, W: height and width.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from .detection import OWN

_STAGES = (64, 128, 256, 512)
_PYRAMID, _HEAD = 256, 1024
# Of the longer side, level by level; torchvision's are 32 to 512 pixels for images of up to 1333.
_ANCHORS = (1 / 24, 1 / 12, 1 / 6, 1 / 3, 2 / 3)
_DIVISIBLE = 32
_FOUND = 100  # boxes of an image, of all classes


class AsGiven(GeneralizedRCNNTransform):
    """What stands before torchvision's detectors, without a part in it: images only become one batch."""

    def __init__(self) -> None:
        super().__init__(1, 1, [], [], size_divisible=_DIVISIBLE)

    def normalize(self, image: Tensor) -> Tensor:
        """The image, which is normalised already."""
        return image

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        """The image and its objects, which have their size already."""
        return image, target


def precise_anchors(network: nn.Module) -> None:
    """Have anchors of single precision: torchvision's have the type of the maps, under autocast half."""
    for module in network.modules():
        if isinstance(module, AnchorGenerator | DefaultBoxGenerator):
            module.register_forward_pre_hook(_of_single_precision)


def _of_single_precision(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Maps of the same shapes, of which only shape, type and device are looked at."""
    images, maps = inputs
    half = (torch.float16, torch.bfloat16)
    return images, [
        one.new_empty((), dtype=torch.float32).expand(one.shape) if one.dtype in half else one for one in maps
    ]


class RelativeAnchors(AnchorGenerator):
    """Anchors that are shares of the longer side of an image, so that any size of image has fitting ones."""

    def __init__(self) -> None:
        super().__init__(tuple((share,) for share in _ANCHORS), ((0.5, 1.0, 2.0),) * len(_ANCHORS))

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Anchors of each image, (number, 4)."""
        longer = max(max(size) for size in image_list.image_sizes)
        self.cell_anchors = [
            self.generate_anchors([share * longer for share in shares], ratios)
            for shares, ratios in zip(self.sizes, self.aspect_ratios, strict=True)
        ]
        return cast(list[Tensor], super().forward(image_list, feature_maps))


class Backbone(nn.Module):
    """A ResNet-18 of any width and its feature pyramid: (B, C, H, W) to maps of strides 4 to 64.

    Sources: He et al., 2016; Lin et al., "Feature Pyramid Networks for Object Detection", 2017.
    """

    def __init__(self, in_chans: int, width: float, batch_norm: bool, relu: bool) -> None:
        super().__init__()
        norm: Any = nn.BatchNorm2d if batch_norm else nn.Identity
        stages = [max(4, round(size * width)) for size in _STAGES]
        self.out_channels = max(8, round(_PYRAMID * width))
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, stages[0], 7, 2, 3, bias=not batch_norm), norm(stages[0]),
            nn.ReLU() if relu else nn.Identity(), nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        self.stages = nn.ModuleList()
        before = stages[0]
        for number, after in enumerate(stages):
            stride = 2 if number else 1
            down = None
            if number or before != after:
                down = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), norm(after))
            first = BasicBlock(before, after, stride, down, norm_layer=norm)
            blocks = [first, BasicBlock(after, after, norm_layer=norm)]
            for block in blocks:
                block.relu = nn.ReLU() if relu else nn.Identity()
            self.stages.append(nn.Sequential(*blocks))
            before = after
        self.fpn = FeaturePyramidNetwork(stages, self.out_channels, LastLevelMaxPool())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps by name, the finest first."""
        x, maps = self.stem(images), {}
        for number, stage in enumerate(self.stages):
            x = stage(x)
            maps[str(number)] = x
        return cast(dict[str, Tensor], self.fpn(maps))


def fasterrcnn(
    classes: int, in_chans: int = 3, width: float = 1.0, batch_norm: bool = True, relu: bool = True
) -> FasterRCNN:
    """A Faster R-CNN (Ren et al., 2015) over a ResNet-18 with a feature pyramid.

    Args:
        classes: of objects.
        in_chans: channels of the images.
        width: multiplies the channels.
        batch_norm: BatchNorm in the backbone.
        relu: ReLU in the backbone.

    Raises:
        ValueError: a width that leaves no channel.
    """
    if not width > 0 or not math.isfinite(width):
        raise ValueError(f"width = {width} received; needed: a positive number")
    backbone = Backbone(in_chans, width, batch_norm, relu)
    hidden = max(16, round(_HEAD * width))
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    network: Any = FasterRCNN(
        backbone, None, rpn_anchor_generator=RelativeAnchors(), box_roi_pool=pool,
        box_head=TwoMLPHead(backbone.out_channels * 49, hidden),
        box_predictor=_Predictor(hidden, classes + 1),
        rpn_pre_nms_top_n_train=1000, rpn_post_nms_top_n_train=500, rpn_pre_nms_top_n_test=500,
        rpn_post_nms_top_n_test=300, box_batch_size_per_image=128, box_detections_per_img=_FOUND,
    )  # fmt: skip
    arguments = {"classes": classes, "in_chans": in_chans, "width": width}
    network.recipe = {"model": OWN, "arguments": {**arguments, "batch_norm": batch_norm, "relu": relu}}
    return cast(FasterRCNN, network)


class _Predictor(nn.Module):
    """Scores and boxes of a region: two linear layers, under the names of torchvision's."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(features, classes)
        self.bbox_pred = nn.Linear(features, 4 * classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, features) to scores (N, classes) and boxes (N, 4 · classes)."""
        x = x.flatten(start_dim=1)
        return self.cls_score(x), self.bbox_pred(x)
