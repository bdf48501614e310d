"""Networks of segmentation_models_pytorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ._source import Source, UnfitError, Weights

_ENCODER = "resnet18"


class Smp(Source):
    """``smp:unet:resnet18``: an architecture and its encoder; they give every pixel its classes."""

    name = "smp"
    form = "smp:ARCH:ENCODER"

    def check(self, model: str, dense: bool) -> None:
        """Whether there is such a network is found out when it is built."""
        if not dense:
            raise ValueError(f"model smp:{model} received, which classifies pixels; needed: --task segment")

    def arguments(self, model: str, classes: int, in_chans: int) -> dict[str, Any]:
        """Classes and channels."""
        return {"classes": classes, "in_channels": in_chans}

    def channels(self, arguments: Mapping[str, Any]) -> int:
        """As asked for."""
        return int(arguments.get("in_channels", 3))

    def build(self, model: str, arguments: dict[str, Any]) -> nn.Module:
        """By the library's `create_model`."""
        return self._create(model, None, arguments)

    def pretrained(self, model: str) -> Weights:
        """The encoder's weights, trained on ImageNet; the decoder has none."""
        encoder = _parts(model)[1]
        universal = encoder.startswith("tu-")  # timm's networks, by the names that timm has
        with torch.random.fork_rng(devices=[]):
            state = self._create(model, True if universal else "imagenet", {"classes": 1}).state_dict()
        kept = {name: tensor for name, tensor in state.items() if name.startswith("encoder.")}
        settings = self._library(model).encoders.get_preprocessing_params(encoder)
        if settings["input_space"] != "RGB":
            raise UnfitError(f"the weights of {encoder} take {settings['input_space']} images; needed: RGB")
        most = settings["input_range"][1]
        mean, std = (tuple(value / most for value in settings[name]) for name in ("mean", "std"))
        return Weights(f"smp:{model}, the encoder's", kept, mean, std, "encoder.")

    def _create(self, model: str, weights: Any, arguments: dict[str, Any]) -> nn.Module:
        smp = self._library(model)
        arch, encoder = _parts(model)
        try:
            return smp.create_model(arch, encoder, weights, **arguments)
        except OSError:  # of files that are missing, which the Hub's errors say as ValueErrors, too
            raise
        except (KeyError, ValueError, TypeError) as error:
            raise UnfitError(f"model smp:{model} received; needed: {self.form}; {error}") from error

    def _library(self, model: str) -> Any:
        try:
            import segmentation_models_pytorch
        except ImportError as error:
            raise UnfitError(
                f"model smp:{model} is one of segmentation_models_pytorch, which is not installed; needed:"
                ' pip install "decoupled-nets[segmentation]"'
            ) from error
        return segmentation_models_pytorch


def _parts(model: str) -> tuple[str, str]:
    arch, _, encoder = model.partition(":")
    return arch, encoder or _ENCODER
