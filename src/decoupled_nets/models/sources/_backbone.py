"""Backbones of torchvision's detectors as torchvision builds them where there are weights.

There its BatchNorms are frozen, as a detector's batches are small, and so are the first of its layers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

#: What a BatchNorm adds to the variance, and what torchvision's frozen ones do.
EPS = 1e-5
NORMS = ("batch", "frozen")
_WHOLE = re.compile(r"(^|\.)backbone\.")
_COUNT = "num_batches_tracked"
#: Where the names of a backbone's layers begin in a classifier's state, whatever stands before.
_LAYERS = {
    "resnet50": re.compile(r"(?:^|\.)((?:conv1|bn1|layer[1-4])\..+)"),
    "mobilenet_v3_large": re.compile(r"(?:^|\.)features\.(.+)"),
    "vgg16": re.compile(r"(?:^|\.)features\.(.+)"),
}
_VGG_FIRST = 23  # layers that torchvision's SSD keeps apart from the later ones


@dataclass(frozen=True)
class Backbone:
    """What torchvision does with the backbone of a detector that starts from weights.

    Attributes:
        network: The classifier whose layers it has.
        frozen: Whether its BatchNorms become frozen ones.
        stages: How many groups of layers can be frozen.
        trained: How many of them, from the last one on, are trained.
        coco_eps: What frozen norms add to the variance in torchvision's own weights of the whole detector.
    """

    network: str
    frozen: bool
    stages: int
    trained: int
    coco_eps: float = EPS

    @property
    def part(self) -> str:
        """Beginning of the names of its parameters in the detector."""
        return "backbone." if self.network == "vgg16" else "backbone.body."

    def names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A classifier's tensors by the names that they have in the detector; the others by their own."""
        return {self._name(name): tensor for name, tensor in state.items()}

    def _name(self, name: str) -> str:
        found = _LAYERS[self.network].search(name)
        if found is None:
            return name
        layer = found[1]
        if self.network != "vgg16":
            return self.part + layer
        number, _, rest = layer.partition(".")
        first = int(number) < _VGG_FIRST
        place = f"features.{number}" if first else f"extra.0.{int(number) - _VGG_FIRST}"
        return f"{self.part}{place}.{rest}"

    def prepare(self, detector: Any, trained: int | None, norm: str, eps: float) -> None:
        """Freeze what is to be frozen: the norms, and all layers but some.

        Args:
            detector: one of torchvision's, as it is built without weights.
            trained: how many stages are trained; None: all.
            norm: one of `NORMS`.
            eps: what frozen norms add to the variance.
        """
        if norm == "frozen":
            _freeze_norms(detector.backbone, eps)
        if trained is not None:
            for layer in itertools.chain(*self._stages(detector.backbone)[: self.stages - trained]):
                layer.requires_grad_(False)

    def _stages(self, backbone: Any) -> list[list[nn.Module]]:
        if self.network == "resnet50":
            body = backbone.body
            later = [[body[f"layer{number}"]] for number in range(1, 5)]
            return [[body["conv1"], body["bn1"]], *later]
        if self.network == "vgg16":
            layers = [*backbone.features, *list(backbone.extra[0])[:-1]]
            starts = [k for k, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        else:
            layers = list(backbone.body.children())
            starts = [k for k, layer in enumerate(layers) if getattr(layer, "_is_cn", False)]
            starts.append(len(layers) - 1)
        ends = [*starts, len(layers)]
        return [layers[start:end] for start, end in zip([0, *starts], ends, strict=True)]


_V1, _V1_EPS = Backbone("resnet50", True, 5, 3), Backbone("resnet50", True, 5, 3, coco_eps=0.0)
_V2 = Backbone("resnet50", False, 5, 3)
_MOBILE = Backbone("mobilenet_v3_large", True, 6, 3)
_BACKBONES = {
    "fasterrcnn_resnet50_fpn": _V1_EPS, "fasterrcnn_resnet50_fpn_v2": _V2,
    "retinanet_resnet50_fpn": _V1_EPS, "retinanet_resnet50_fpn_v2": _V2,
    "fcos_resnet50_fpn": _V1,
    "fasterrcnn_mobilenet_v3_large_fpn": _MOBILE, "fasterrcnn_mobilenet_v3_large_320_fpn": _MOBILE,
    "ssd300_vgg16": Backbone("vgg16", False, 5, 4),
    "maskrcnn_resnet50_fpn": _V1_EPS, "maskrcnn_resnet50_fpn_v2": _V2,
    "keypointrcnn_resnet50_fpn": _V1_EPS,
}  # fmt: skip


def backbone_of(model: str) -> Backbone | None:
    """That of one of torchvision's detectors; None: it is none, or torchvision freezes nothing of it."""
    return _BACKBONES.get(model)


def is_whole(state: Iterable[str]) -> bool:
    """Whether these are names of a detector, not of its backbone alone."""
    return any(_WHOLE.search(name) for name in state)


def norms_learn(state: Iterable[str]) -> bool:
    """Whether the norms of a detector's backbone counted batches: frozen ones have nothing to count."""
    return any(_WHOLE.search(name) and name.endswith(_COUNT) for name in state)


def frozen_eps(detector: nn.Module) -> float | None:
    """What the frozen norms of a detector's backbone add to the variance; None: there are none."""
    norms = list(_frozen(getattr(detector, "backbone", nn.Module())))
    return norms[0].eps if norms else None


def _frozen(backbone: nn.Module) -> Iterator[Any]:
    from torchvision.ops import FrozenBatchNorm2d

    yield from (module for module in backbone.modules() if isinstance(module, FrozenBatchNorm2d))


def _freeze_norms(backbone: nn.Module, eps: float) -> None:
    from torchvision.ops import FrozenBatchNorm2d

    for parent in list(backbone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, FrozenBatchNorm2d(child.num_features, eps))
