"""Networks of torchvision."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from torch import nn

from ..._registry import unknown
from ._backbone import EPS, NORMS, Backbone, backbone_of, frozen_eps, is_whole, norms_learn
from ._source import Source, Weights

#: They give further outputs in training, and warn of how long their weights take to draw.
_INCEPTIONS = ("googlenet", "inception_v3")

#: ImageNet's, and that of detectors which normalise otherwise, within.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_INSIDE = {
    "ssdlite": ((0.5,) * 3, (0.5,) * 3),
    "ssd300": ((0.48235, 0.45882, 0.40784), (1 / 255,) * 3),
}


#: Options of detectors: which weights are meant, and what is frozen where there are weights.
_WEIGHTS, _TRAINED, _NORM, _EPS = "weights_backbone", "trainable_backbone_layers", "norm_layer", "norm_eps"
_OPTIONS = f"{_WEIGHTS}=DEFAULT, {_TRAINED}=3, {_NORM}=frozen and {_EPS}=0, separated by commas"


def _detectors() -> list[str]:
    """Names of the networks that find boxes, and nothing else."""
    from torchvision import models

    found = models.list_models(module=models.detection)
    return [name for name in found if not name.startswith(("maskrcnn", "keypointrcnn"))]


class Torchvision(Source):
    """``torchvision:resnet18``; for pixels ``torchvision:lraspp_mobilenet_v3_large``. They take colour.

    Detectors may have options behind a second colon, by torchvision's names for them:
    ``torchvision:fasterrcnn_resnet50_fpn:weights_backbone=DEFAULT,trainable_backbone_layers=2``.
    """

    name = "torchvision"
    form = "torchvision:NAME"

    def plain(self, model: str) -> str:
        """What stands before the options."""
        return model.partition(":")[0]

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
        name, options = _parsed(model)
        if name not in (known := _detectors()):
            raise ValueError(unknown("torchvision detector", name, known))
        _check(name, options)

    def check_start(self, model: str, pretrained: bool, weights: bool) -> None:
        """Options that say something of weights want some."""
        options = _parsed(model)[1]
        if _WEIGHTS in options and not pretrained:
            raise ValueError(
                f"{_WEIGHTS} received for model {self.name}:{model}; needed: pretrained = True as well"
            )
        if _TRAINED in options and not (pretrained or weights):
            raise ValueError(
                f"{_TRAINED} received for model {self.name}:{model}, which starts from new weights; needed:"
                " pretrained = True or weights=FILE, as what is frozen stays as it starts"
            )

    def arguments(self, model: str, classes: int, in_chans: int) -> dict[str, Any]:
        """Classes; and one output alone, with weights drawn as usual."""
        name, options = _parsed(model)
        more = {"aux_logits": False, "init_weights": True} if name in _INCEPTIONS else {}
        more |= {key: value for key, value in options.items() if key != _WEIGHTS}
        return {"num_classes": classes + (name in _detectors()), **more}  # detectors count the ground

    def fitted(self, model: str, arguments: dict[str, Any], weights: Weights) -> dict[str, Any]:
        """As torchvision builds a detector that has weights: norms frozen, and the first layers.

        Weights of a detector whose norms have counted batches were trained with BatchNorm; it stays.
        """
        known = backbone_of(self.plain(model))
        if known is None:
            return arguments
        learnt = known.frozen and norms_learn(weights.state)
        made: dict[str, Any] = {_TRAINED: known.stages if learnt else known.trained}
        if known.frozen and not learnt:
            made[_NORM] = "frozen"
        made |= arguments
        if made.get(_NORM) == "frozen":
            made = {_EPS: weights.options.get(_EPS, self._eps(model, weights)), **made}
        return made

    def _eps(self, model: str, weights: Weights) -> float:
        """That of torchvision's own file, which is known by its name; else the usual one."""
        from torchvision.models import get_model_weights

        url = str(get_model_weights(self.plain(model)).DEFAULT.url)
        own, known = url.rpartition("/")[2] in weights.label, backbone_of(self.plain(model))
        return known.coco_eps if own and known else EPS

    def placed(self, model: str, weights: Weights) -> Weights:
        """A classifier's weights, by the names that they have in the detector whose backbone it is."""
        known = backbone_of(self.plain(model))
        if known is None or is_whole(weights.state):
            return weights
        return replace(weights, state=known.names(weights.state), part=known.part)

    def seen(self, network: nn.Module, arguments: dict[str, Any]) -> dict[str, Any]:
        """Frozen norms, which no name of a network says."""
        eps = frozen_eps(network)
        return arguments if eps is None else {_NORM: "frozen", _EPS: eps, **arguments}

    def channels(self, arguments: Mapping[str, Any]) -> int:
        """Three, always."""
        return 3

    def build(self, model: str, arguments: dict[str, Any]) -> nn.Module:
        """By torchvision's registry."""
        from torchvision import models

        model = self.plain(model)
        known = backbone_of(model)
        own = {key: arguments[key] for key in (_TRAINED, _NORM, _EPS) if known and key in arguments}
        _check(model, own)
        arguments = {key: value for key, value in arguments.items() if key not in own}
        if model not in models.list_models():
            raise ValueError(f"unknown torchvision model {model!r}")
        if model in _INCEPTIONS:
            arguments = {"init_weights": False, **arguments}  # without a word, weights are loaded anyway
        if "weights_backbone" in inspect.signature(models.get_model_builder(model)).parameters:
            arguments = {**arguments, "weights_backbone": None}  # they would be fetched by default
        network = cast(nn.Module, models.get_model(model, weights=None, **arguments))
        if known:
            known.prepare(network, own.get(_TRAINED), own.get(_NORM, NORMS[0]), own.get(_EPS, EPS))
        return network

    def pretrained(self, model: str) -> Weights:
        """The weights that torchvision calls the default; of a detector maybe those of its backbone alone."""
        from torchvision.models import get_model_weights

        name, options = _parsed(model)
        known = backbone_of(name)
        if known and _WEIGHTS in options:
            weights, label = _backbones(known, options[_WEIGHTS]), f"torchvision:{known.network}"
        else:
            weights, label = get_model_weights(name).DEFAULT, f"torchvision:{name}"
        preset = weights.transforms()
        mean, std = next((own for start, own in _INSIDE.items() if name.startswith(start)), (None, None))
        if mean is None or std is None:
            mean, std = tuple(getattr(preset, "mean", _MEAN)), tuple(getattr(preset, "std", _STD))
        if name in _INCEPTIONS:  # torchvision shifts their images from ImageNet's mean to this one
            mean, std = (0.5,) * 3, (0.5,) * 3
        state = weights.get_state_dict(progress=False, check_hash=True)
        own = {_EPS: known.coco_eps} if known and _WEIGHTS not in options else {}
        return Weights(f"{label}, {weights.name}", state, mean, std, options=own)


def _parsed(model: str) -> tuple[str, dict[str, Any]]:
    """The name, and the options that stand behind it.

    Raises:
        ValueError: an option is none.
    """
    name, _, text = model.partition(":")
    options: dict[str, Any] = {}
    for entry in filter(None, text.split(",")):
        key, equals, value = entry.partition("=")
        kind = {_WEIGHTS: str, _TRAINED: int, _NORM: str, _EPS: float}.get(key)
        try:
            assert kind is not None
            assert equals
            options[key] = kind(value)
        except (AssertionError, ValueError):
            raise ValueError(
                f"model torchvision:{model} received, with {entry!r}; needed: {_OPTIONS}, or fewer"
            ) from None
    return name, options


def _check(model: str, options: Mapping[str, Any]) -> None:
    """Refuse options that this network does not have, or not with these values.

    Raises:
        ValueError: there is one.
    """
    known = backbone_of(model)
    if not options:
        return
    if known is None:
        raise ValueError(
            f"{next(iter(options))} received for torchvision's {model}; needed: none of {_OPTIONS}"
        )
    norm, trained, eps = options.get(_NORM, NORMS[0]), options.get(_TRAINED, 0), options.get(_EPS, 0.0)
    if norm not in NORMS or (norm == "frozen" and not known.frozen):
        some = " or ".join(NORMS) if known.frozen else NORMS[0]
        raise ValueError(f"{_NORM} = {norm!r} received for torchvision's {model}; needed: {some}")
    if not isinstance(trained, int) or not 0 <= trained <= known.stages:
        raise ValueError(f"{_TRAINED} = {trained!r} received; needed: a number from 0 to {known.stages}")
    if not isinstance(eps, int | float) or not 0 <= eps < 1:
        raise ValueError(f"{_EPS} = {eps!r} received; needed: a number from 0 on, below 1")
    if _WEIGHTS in options:
        _backbones(known, options[_WEIGHTS])


def _backbones(known: Backbone, name: str) -> Any:
    """Weights of torchvision's for a backbone.

    Raises:
        ValueError: there are none of that name.
    """
    from torchvision.models import get_model_weights

    kinds: Any = get_model_weights(known.network)
    if name not in kinds.__members__:
        raise ValueError(
            f"{_WEIGHTS} = {name!r} received; needed: one of {', '.join(kinds.__members__)}, which"
            f" {known.network} has"
        )
    return kinds[name]
