"""Networks of torchvision."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from ..._registry import unknown
from ._source import Source, Weights

#: They give further outputs in training, and warn of how long their weights take to draw.
_INCEPTIONS = ("googlenet", "inception_v3")

#: ImageNet's, and that of detectors which normalise otherwise, within.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_INSIDE = {
    "ssdlite": ((0.5,) * 3, (0.5,) * 3),
    "ssd300": ((0.48235, 0.45882, 0.40784), (1 / 255,) * 3),
}


def _detectors() -> list[str]:
    """Names of the networks that find boxes, and nothing else."""
    from torchvision import models

    found = models.list_models(module=models.detection)
    return [name for name in found if not name.startswith(("maskrcnn", "keypointrcnn"))]


class Torchvision(Source):
    """``torchvision:resnet18``; for pixels ``torchvision:lraspp_mobilenet_v3_large``. They take colour."""

    name = "torchvision"
    form = "torchvision:NAME"

    def check(self, model: str, dense: bool) -> None:
        """Classifiers and networks for segmentation are lists of their own."""
        from torchvision import models

        known = models.list_models(module=models.segmentation if dense else models)
        if model not in known:
            if dense:
                raise ValueError(f"model torchvision:{model} received; needed: one of {', '.join(known)}")
            raise ValueError(unknown("torchvision model", model, known))

    def check_boxes(self, model: str) -> None:
        """Detectors are a list of their own, without those that find masks or key points besides."""
        if model not in (known := _detectors()):
            raise ValueError(unknown("torchvision detector", model, known))

    def arguments(self, model: str, classes: int, in_chans: int) -> dict[str, Any]:
        """Classes; and one output alone, with weights drawn as usual."""
        more = {"aux_logits": False, "init_weights": True} if model in _INCEPTIONS else {}
        return {"num_classes": classes + (model in _detectors()), **more}  # detectors count the ground

    def channels(self, arguments: Mapping[str, Any]) -> int:
        """Three, always."""
        return 3

    def build(self, model: str, arguments: dict[str, Any]) -> nn.Module:
        """By torchvision's registry."""
        from torchvision import models

        if model not in models.list_models():
            raise ValueError(f"unknown torchvision model {model!r}")
        if model in _INCEPTIONS:
            arguments = {"init_weights": False, **arguments}  # without a word, weights are loaded anyway
        if "weights_backbone" in inspect.signature(models.get_model_builder(model)).parameters:
            arguments = {**arguments, "weights_backbone": None}  # they would be fetched by default
        return cast(nn.Module, models.get_model(model, weights=None, **arguments))

    def pretrained(self, model: str) -> Weights:
        """The weights that torchvision calls the default."""
        from torchvision.models import get_model_weights

        weights = get_model_weights(model).DEFAULT
        preset = weights.transforms()
        mean, std = next((own for start, own in _INSIDE.items() if model.startswith(start)), (None, None))
        if mean is None or std is None:
            mean, std = tuple(getattr(preset, "mean", _MEAN)), tuple(getattr(preset, "std", _STD))
        if model in _INCEPTIONS:  # torchvision shifts their images from ImageNet's mean to this one
            mean, std = (0.5,) * 3, (0.5,) * 3
        state = weights.get_state_dict(progress=False, check_hash=True)
        return Weights(f"torchvision:{model}, {weights.name}", state, mean, std)
