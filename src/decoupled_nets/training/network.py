"""The network of a run: built from its configuration, or from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .._options import owners
from ..data import ImageData
from ..models import NetworkConfig, PixelNetwork
from ..tasks import Task, find_task
from .checkpoint import load_checkpoint
from .config import TrainConfig
from .folder import origin


def build_network(
    task: Task, config: NetworkConfig, operator: str, data: ImageData, **options: Any
) -> PixelNetwork:
    """The configured network with one operator, behind its normalisation; pixels in [0, 1] go in.

    Raises:
        ValueError: the model or the operator is unknown, or an option is out of range.
    """
    network = task.network(config, operator, data.in_chans, **options)
    return PixelNetwork(network, data.mean, data.std)


@torch.no_grad()
def check_network(network: PixelNetwork, data: ImageData) -> None:
    """Try the network on one grey image, before anything is written.

    Raises:
        ValueError: the images do not suit it, too small ones for example.
    """
    network.eval()(torch.full((1, data.in_chans, *data.image_size), 0.5))
    network.train()


def describe(config: Any, data: ImageData, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a checkpoint says of itself, enough to build its network again."""
    return {
        "decoupled_nets": {
            "config": config.flat(),
            "options": options or {},
            "classes": list(data.classes),
            "in_chans": data.in_chans,
            "image_size": list(data.image_size),
            **origin(data, config.network.plugin),
        }
    }


def load_network(path: str | Path) -> PixelNetwork:
    """The trained network of a checkpoint of ours, in evaluation mode: from pixels in [0, 1].

    Args:
        path: ``last.ckpt`` or ``best.ckpt``. Operators of a plugin have to be registered before.

    Returns:
        A module that takes images (B, C, H, W), its normalisation included.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of ours.
    """
    checkpoint = _own_checkpoint(path)
    own, config = checkpoint["decoupled_nets"], _config_of(checkpoint)
    task = find_task(config.task)(own["classes"])
    network = task.network(config.network, config.operator, own["in_chans"], **own["options"])
    whole = PixelNetwork(network, [0.0] * own["in_chans"], [1.0] * own["in_chans"])
    prefix = "network."
    state = {k[len(prefix) :]: v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    whole.load_state_dict(state)
    return whole.eval()


def load_config(path: str | Path) -> TrainConfig:
    """The configuration of the run that left a checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of ours.
    """
    return _config_of(_own_checkpoint(path))


def load_origin(path: str | Path) -> dict[str, Any]:
    """The data and the version that a checkpoint of ours belongs to, as :func:`origin` has them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of ours, or one that does not note its data.
    """
    own = _own_checkpoint(path)["decoupled_nets"]
    if "digest" not in own:
        raise ValueError(f"{path} does not note its data, written by an older version; needed: one that does")
    return {name: own[name] for name in ("version", "format", "digest", "found", "plugin") if name in own}


def _own_checkpoint(path: str | Path) -> dict[str, Any]:
    checkpoint = load_checkpoint(path)
    if "decoupled_nets" not in checkpoint:
        raise ValueError(
            f"{path} is a checkpoint of another program; needed: one of decoupled train or compare"
        )
    return checkpoint


def _config_of(checkpoint: dict[str, Any]) -> TrainConfig:
    saved = checkpoint["decoupled_nets"]["config"]
    # Options that the version which wrote it did not have keep their defaults.
    return TrainConfig.of(**{name: saved[name] for name in owners(TrainConfig) if name in saved})
