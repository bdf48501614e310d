"""Networks of timm (PyTorch Image Models)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ._source import Source, Weights


class Timm(Source):
    """``timm:resnet18`` or, with the weights that are meant, ``timm:resnet18.a1_in1k``."""

    name = "timm"
    form = "timm:NAME"
    remembers = True

    def check(self, model: str, dense: bool) -> None:
        """Its networks are classifiers."""
        import timm

        if dense:
            raise ValueError(
                f"model timm:{model} received, a classifier; needed: a network that gives every pixel its "
                "classes, such as smp:unet:tu-NAME with a timm network for encoder"
            )
        # timm also takes addresses for a name, and would fetch what is there.
        if not timm.is_model(model):
            close = difflib.get_close_matches(model, timm.list_models(), n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"model timm:{model} received{hint}; needed: one of timm.list_models()")

    def arguments(self, model: str, classes: int, in_chans: int) -> dict[str, Any]:
        """Classes and channels."""
        return {"num_classes": classes, "in_chans": in_chans}

    def channels(self, arguments: Mapping[str, Any]) -> int:
        """As asked for."""
        return int(arguments.get("in_chans", 3))

    def build(self, model: str, arguments: dict[str, Any]) -> nn.Module:
        """By timm's registry."""
        import timm

        if not timm.is_model(model):
            raise ValueError(f"unknown timm model {model!r}")
        return timm.create_model(model, pretrained=False, **arguments)

    def pretrained(self, model: str) -> Weights:
        """The weights of the tag, or of timm's default one, with the classifier they were trained with."""
        import timm

        with torch.random.fork_rng(devices=[]):
            network: Any = timm.create_model(model, pretrained=True)
        cfg = network.pretrained_cfg
        label = ".".join(filter(None, (cfg.get("architecture"), cfg.get("tag"))))
        return Weights(f"timm:{label}", network.state_dict(), tuple(cfg["mean"]), tuple(cfg["std"]))

    def has_weights(self, model: str) -> bool:
        """Whether the registry names a place for them."""
        import timm

        cfg = timm.get_pretrained_cfg(model, allow_unregistered=True)
        return cfg is not None and cfg.has_weights
