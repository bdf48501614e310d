"""What becomes of the upsampling of torchvision's and smp's networks; run, it prints the table of the docs.

.venv/bin/python tests/conversion/upsampling_networks.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import nn
from torchvision.models import detection, segmentation
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

import decoupled_nets as dn

HEAD = "| network | calls | taken | guided | left |\n| --- | ---: | --- | ---: | --- |"
IMAGES = [torch.rand(3, 96, 120, generator=torch.Generator().manual_seed(0))]
BATCH = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
SMALL = {"min_size": 96, "max_size": 128}
Made = tuple[nn.Module, Any]


def detector(kind: type) -> Callable[[], Made]:
    """One of torchvision's on a pyramid over ResNet-18."""
    return lambda: (
        kind(resnet_fpn_backbone(backbone_name="resnet18", weights=None), num_classes=3, **SMALL), IMAGES
    )  # fmt: skip


def of_smp(kind: type) -> Callable[[], Made]:
    """One of smp's over ResNet-18."""
    return lambda: (kind("resnet18", encoder_weights=None, classes=12), BATCH)


def of_torchvision(build: Callable[..., nn.Module], example: Any, **options: Any) -> Callable[[], Made]:
    """One of torchvision's builders, without weights."""
    return lambda: (build(weights=None, weights_backbone=None, **options), example)


NETWORKS: dict[str, Callable[[], Made]] = {
    "torchvision FasterRCNN, ResNet-18 FPN": detector(detection.FasterRCNN),
    "torchvision RetinaNet, ResNet-18 FPN": detector(detection.RetinaNet),
    "torchvision FCOS, ResNet-18 FPN": detector(detection.FCOS),
    "torchvision fasterrcnn_mobilenet_v3_large_320_fpn": of_torchvision(
        detection.fasterrcnn_mobilenet_v3_large_320_fpn, IMAGES, **SMALL
    ),
    "torchvision fcn_resnet50": of_torchvision(segmentation.fcn_resnet50, BATCH),
    "torchvision lraspp_mobilenet_v3_large": of_torchvision(segmentation.lraspp_mobilenet_v3_large, BATCH),
    "smp Unet": of_smp(smp.Unet),
    "smp UnetPlusPlus": of_smp(smp.UnetPlusPlus),
    "smp FPN": of_smp(smp.FPN),
    "smp Linknet": of_smp(smp.Linknet),
    "smp PSPNet": of_smp(smp.PSPNet),
    "smp DeepLabV3": of_smp(smp.DeepLabV3),
    "smp DeepLabV3Plus": of_smp(smp.DeepLabV3Plus),
    "smp UPerNet": of_smp(smp.UPerNet),
    "smp Segformer": of_smp(smp.Segformer),
}


def row(name: str, report: dn.Conversion) -> str:
    """A network's row."""
    taken = Counter(fate.was for fate in report.converted)
    left = Counter(str(fate.reason).partition(" (")[0] for fate in report.left)
    cells = [
        name, len(report.fates), _counted(taken),
        sum("guided" in str(fate.became) for fate in report.converted), _counted(left),
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _counted(what: Counter[str]) -> str:
    return ", ".join(text + (f" ({n} times)" if n > 1 else "") for text, n in what.items()) or "–"


if __name__ == "__main__":
    print(HEAD)
    for name, make in NETWORKS.items():
        print(row(name, dn.convert_upsampling(*make())))
