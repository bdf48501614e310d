"""Weights of the DDF authors' release."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..nn.ddf import DDF2d
from ..nn.filter_norm import FilterNorm
from .checkpoints import read_checkpoint, state_in

PREFIXES = ("module.", "_orig_mod.")
CLASSIFIER = ("fc.weight", "fc.bias")


def load_official(
    model: nn.Module, path_or_state_dict: str | os.PathLike[str] | Mapping[str, Any], *, ema: bool = True
) -> nn.Module:
    """Load released weights of a DDF network, and let its filters be normalised as the released code does.

    Takes what timm's training leaves as well: ``.pth.tar`` with its weights under ``state_dict``, averaged
    ones under ``state_dict_ema``, names behind ``module.``. Files are read as tensors and plain values: a
    file with anything else, which could run code, is refused. Whether the weights fit is found out first: an
    error leaves the model as it was.

    The released arithmetic goes with the weights. It shows in the state dict too (the scale of channel
    filters is called ``std``, else ``scale``), so weights do not get into the other arithmetic unnoticed: a
    state dict of a network that went through here loads into one built with ``norm="released"``. Whether
    filters were multiplied or added does not show: it is taken from the checkpoint's ``arch`` or the file's
    name where they say so, and is otherwise for the caller to know.

    Args:
        model: from :func:`decoupled_nets.create_model` or timm's; with another normalisation than
            ``"filter"`` or ``"released"`` it is refused. Without a classifier, the weights' own is left out.
        path_or_state_dict: a file (``.pth``, ``.pth.tar``, ``.safetensors``) or what it holds.
        ema: prefer averaged weights where a file has both.

    Returns:
        `model`.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: neither a path nor a mapping was received.
        ValueError: the file is not readable safely, or its weights are not this network's.

    Example:
        >>> import decoupled_nets as dn
        >>> released = dn.create_model("ddf_mul_resnet50", norm="released").state_dict()
        >>> model = dn.load_official(dn.create_model("ddf_mul_resnet50"), {"state_dict": released})
        >>> model.layer1[0].conv2.norm
        'released'
    """
    layers = [layer for layer in model.modules() if isinstance(layer, DDF2d)]
    if not layers:
        raise ValueError(f"{type(model).__name__} without DDF2d layers received; needed: a DDF network")
    for layer in layers:
        if layer.branches != "both":
            raise ValueError(
                f"a network with branches = {layer.branches!r} received; needed: 'both'; "
                "no weights of other networks were released"
            )
        if layer.norm not in ("filter", "released"):
            raise ValueError(
                f"a network with norm = {layer.norm!r} received; needed: 'filter' or 'released'; "
                "the released weights know no other normalisation"
            )
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError(
            "a network on the meta device received; needed: one with memory; call to_empty() first"
        )
    content = path_or_state_dict
    if isinstance(content, str | os.PathLike):
        content = read_checkpoint(Path(content))
    if not isinstance(content, Mapping):
        raise TypeError(f"{type(content).__name__} received; needed: a path or a state dict")
    named = Path(path_or_state_dict).name if isinstance(path_or_state_dict, str | os.PathLike) else ""
    _check_combination({layer.combine for layer in layers}, content, named)
    weights = _weights(content, ema)
    expected = _released_shapes(model)
    if not any(name in expected for name in CLASSIFIER):
        weights = {name: tensor for name, tensor in weights.items() if name not in CLASSIFIER}
    _check_fit(weights, expected)
    for layer in layers:
        layer.use_released_arithmetic()
    model.load_state_dict(weights)
    return model


def _check_combination(own: set[str], content: Mapping[str, Any], file: str) -> None:
    """Names and shapes cannot tell multiplied filters from added ones; the architecture's name can."""
    for text in (content.get("arch"), file):
        said = re.match(r"ddf_(mul|add)_", text) if isinstance(text, str) else None
        if said and own != {said[1]}:
            needed = "/".join(sorted(own))
            raise ValueError(
                f"weights of {text} received; needed: those of a network with combine = {needed!r}"
            )


def _weights(content: Mapping[str, Any], ema: bool) -> dict[str, Tensor]:
    """The state dict in a checkpoint, its names without wrappers' prefixes."""
    weights = {}
    for name, tensor in state_in(content, ema)[1].items():
        while name.startswith(PREFIXES):
            name = name.partition(".")[2]
        weights[name] = tensor
    return weights


def _released_shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Shapes of the model's state, under the names that it has with the released arithmetic."""
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, module in model.named_modules():
        if isinstance(module, FilterNorm) and f"{name}.scale" in shapes:
            shapes[f"{name}.std"] = shapes.pop(f"{name}.scale")
    return shapes


def _check_fit(weights: dict[str, Tensor], expected: dict[str, torch.Size]) -> None:
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is not known" for name in weights if name not in expected]
    problems += [
        f"{name} has shape {tuple(tensor.shape)}, not {tuple(expected[name])}"
        for name, tensor in weights.items()
        if name in expected and tensor.shape != expected[name]
    ]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(f"the weights are not this network's: {'; '.join(problems[:5])}{more}")
