"""The weights that a network starts from: a library's own, a file's, a saved network's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from .._downloads import no_downloads
from ..conversion import Conversion
from ..hub.files import CONFIG, WEIGHTS, read_saved, saved_folder
from ..hub.recipe import operator_in
from ..models import NetworkConfig
from ..models.checkpoints import read_checkpoint, state_in
from ..models.layers import PLAIN
from ..models.sources import UnfitError, Weights, source_named
from .loading import Loaded
from .names import form_of

_CHECKPOINTS = ("best.ckpt", "last.ckpt")


@dataclass
class Given:
    """What a network is to start from; building it notes here what became of that.

    Attributes:
        weights: To be loaded; None: it starts from new ones.
        loaded: What was.
        conversion: Which layers became what; None: nothing was converted.
        upsampling: Which calls became what; None: the network upsamples in its own way.
        as_saved: Whether the network is a saved one that has its operator already.
        own_operator: Whether the weights are of a network with the same operator.
    """

    weights: Weights | None = None
    loaded: Loaded | None = field(default=None, init=False)
    conversion: Conversion | None = field(default=None, init=False)
    upsampling: Conversion | None = field(default=None, init=False)
    as_saved: bool = field(default=False, init=False)
    own_operator: bool = field(default=False, init=False)


def fetch(config: NetworkConfig) -> None:
    """Have in the cache what a network is built from and starts from.

    Raises:
        ValueError: it cannot be had.
    """
    if form_of(config.model) == "saved":
        saved_folder(config.model)
    if config.pretrained:
        _pretrained(config, fetching=True)


def given_weights(config: NetworkConfig) -> Weights | None:
    """The weights that the options name; nothing is fetched.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or what is named is not on this machine.
    """
    with no_downloads():
        if config.weights:
            return read_weights(Path(config.weights))
        if form_of(config.model) == "saved":
            return _saved(folder_here(config.model))
        return _pretrained(config) if config.pretrained else None


def folder_here(model: str) -> Path:
    """The folder of a saved network, which may be in the cache of the Hugging Face Hub; nothing is fetched.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is a repository that was not fetched.
    """
    try:
        return saved_folder(model, local_files_only=True)
    except ValueError as error:
        raise ValueError(
            f"model {model} is no folder here, nor in the cache of the Hugging Face Hub; needed: a folder, or"
            " download=True, which fetches it"
        ) from error


def _pretrained(config: NetworkConfig, *, fetching: bool = False) -> Weights:
    found = source_named(config.model)
    assert found is not None
    source, model = found
    if not source.has_weights(model):
        raise ValueError(
            f"pretrained = True received for model {config.model}, for which there are no weights; needed:"
            " another network, or none"
        )
    try:
        return source.pretrained(model)
    except UnfitError:
        raise
    except Exception as error:  # of the library, of the Hub, of the network: its own and others' classes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if fetching or not isinstance(error, OSError):  # it is another thing than a file that is missing
            raise ValueError(
                f"the weights of {config.model} cannot be had: {reason}; needed: that the library can fetch"
                " and read them, or weights=FILE, which loads a file"
            ) from error
        raise ValueError(
            f"the weights of {config.model} are not on this machine; needed: download=True, which fetches"
            f" them ({reason})"
        ) from error


def read_weights(path: Path) -> Weights:
    """The weights of a file, of a run's folder, or of a folder of ``save_pretrained``.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
        ValueError: it is damaged, or holds something that could run code.
    """
    if (path / CONFIG).is_file() and (path / WEIGHTS).is_file():
        return _saved(path)
    if path.is_dir():
        place = next((path / name for name in _CHECKPOINTS if (path / name).is_file()), None)
        if place is None:
            raise FileNotFoundError(
                f"weights = {str(path)!r} received; needed: a file, a run's folder with {_CHECKPOINTS[0]} or"
                " a folder of save_pretrained"
            )
        path = place
    content = read_checkpoint(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; needed: tensors by name")
    key, state = state_in(content)
    own = content.get("decoupled_nets")
    own = own if isinstance(own, dict) else {}
    operator = own.get("config", {}).get("operator")
    label = f"{path}{f', its {key}' if key not in ('', 'state_dict') else ''}"
    if operator:
        label += f", a network with {operator}"
    recipe = own.get("recipe")
    options = recipe.get("arguments", {}) if isinstance(recipe, dict) else {}
    return Weights(label, state, *_normalisation(state), operator=operator, options=options)


def _saved(folder: Path) -> Weights:
    config, state = read_saved(folder)
    norm = config.get("normalize") or {}
    mean, std = (tuple(norm[name]) if norm else None for name in ("mean", "std"))
    label = f"{folder}, a saved {config.get('model')}"
    try:
        operator = operator_in(config)
        label += f" with {operator}" if operator != PLAIN else ""
    except ValueError:  # an operator of a plugin that is not here: the kernels can be had without it
        operator = None
    return Weights(label, state, mean, std, operator=operator, options=config.get("arguments") or {})


def _normalisation(state: dict[str, Tensor]) -> tuple[Any, Any]:
    """The mean and the deviation that a network of ours keeps in front of it."""
    found = {}
    for name, tensor in state.items():
        if match := re.fullmatch(r"(?:\w+\.)?normalize\.(mean|std)", name):
            found[match[1]] = tuple(tensor.flatten().tolist())
    return found.get("mean"), found.get("std")
