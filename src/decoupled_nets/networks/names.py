"""What a name of ``--model`` is the name of, and which options go with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from .._code import names_code
from ..models import NetworkConfig
from ..models.detection import OWN as DETECTOR
from ..models.joint import OWN as JOINT
from ..models.segmentation import OWN as UNET
from ..models.sources import source_named, sources

Form = Literal["own", "library", "saved", "code"]
#: Options that only our own networks have.
_OWN = ("width", "batch_norm", "relu", "features")


def form_of(model: str) -> Form:
    """What kind of name it is; a name of no other kind is taken for one of our own networks'.

    Raises:
        ValueError: it names a library that is not known.

    Example:
        >>> [form_of(name) for name in ("cnn9", "timm:resnet18", "./folder", "user/name", "nets.py:small")]
        ['own', 'library', 'saved', 'saved', 'code']
    """
    if names_code(model):
        return "code"
    if source_named(model) is not None:
        return "library"
    if "/" in model or "\\" in model or (Path(model) / "config.json").is_file():
        return "saved"
    if ":" in model:
        forms = ", ".join(source.form for source in sources().values())
        raise ValueError(
            f"model {model!r} received; needed: one of our own, {forms}, a folder of save_pretrained or"
            " FILE.py:FUNCTION"
        )
    return "own"


def fitted(network: NetworkConfig, width: float) -> NetworkConfig:
    """The options, checked against what the named network has.

    Args:
        network: has a name.
        width: the command's default, which is no wish of the user's.

    Raises:
        ValueError: an option that the network does not have was changed, or two exclude each other.
    """
    form, usual = form_of(network.model), NetworkConfig()
    if form == "saved" and not {"/", "\\"} & set(network.model):
        network = dataclasses.replace(
            network, model=f"./{network.model}"
        )  # a name even if the folder is gone
    if form != "own":
        if network.width == width:
            network = dataclasses.replace(network, width=usual.width)
        for name in _OWN:
            if (value := getattr(network, name)) != getattr(usual, name):
                raise ValueError(
                    f"{name} = {value} received for model {network.model}; needed: the default, as only our"
                    " own networks have this option"
                )
    if network.features is not None and network.model in (UNET, JOINT, DETECTOR):
        raise ValueError(
            f"features = {network.features} received for model {network.model}, which has no layer before a"
            " classifier; needed: the default"
        )
    check_joint(network)
    if network.select and form == "own" and network.model not in (UNET, JOINT, DETECTOR):
        raise ValueError(
            f"select = {network.select!r} received for model {network.model}, which is built with its"
            " operator; needed: a network that is converted, such as timm:resnet18"
        )
    _check_weights(network, form)
    return network


def _check_weights(network: NetworkConfig, form: Form) -> None:
    """Refuse weights that the named network cannot have, or what it lacks of them.

    Raises:
        ValueError: as said.
    """
    if network.pretrained and form != "library":
        raise ValueError(
            f"pretrained = True received for model {network.model}; needed: a network of a library, such as"
            " timm:resnet18; weights=FILE loads a file"
        )
    if network.pretrained and network.weights:
        raise ValueError(f"pretrained = True and weights = {network.weights!r} received; needed: one of them")
    if form == "library" and (found := source_named(network.model)):
        found[0].check_start(found[1], network.pretrained, network.weights is not None)


def check_joint(network: NetworkConfig) -> None:
    """Refuse an option that the network for joint upsampling does not have.

    Raises:
        ValueError: it was changed.
    """
    if network.model == JOINT and not network.batch_norm:
        raise ValueError(
            f"batch_norm = {network.batch_norm} received for model {JOINT}, which has no BatchNorm; needed:"
            " the default"
        )
