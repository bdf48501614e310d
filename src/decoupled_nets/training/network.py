"""The network of a run: built from its configuration, or from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .._options import owners
from ..data import ImageData
from ..models import NetworkConfig, PixelNetwork
from ..models.sources import Weights
from ..networks import channels_of, form_of, saved_recipe
from ..tasks import Task, find_task
from .checkpoint import load_checkpoint
from .config import TrainConfig
from .folder import origin_of


def build_network(
    task: Task, config: NetworkConfig, operator: str, data: ImageData, **options: Any
) -> PixelNetwork:
    """The configured network with one operator and new weights; pixels in [0, 1] go in.

    Args:
        task: says how many classes there are.
        config: names the network.
        operator: of its convolutions.
        data: says how many channels there are, their mean and their deviation.
        **options: further ones of the network, such as `given`, weights to start from.

    Raises:
        ValueError: the model or the operator is unknown, or an option is out of range.
    """
    options = {**data.network_options, **options}
    recipe = options.pop("recipe", None) or saved_recipe(config)
    weights = options["given"].weights if "given" in options else None
    channels = options.pop("channels", None) or channels_of(config, data.in_chans, recipe, weights)
    network = task.network(config, operator, channels, **_known(recipe=recipe), **options)
    mean, std, _ = normalisation(weights, data, channels)
    return PixelNetwork(network, mean, std)


def normalisation(
    weights: Weights | None, data: ImageData, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    """What stands in front of a network: as its weights had it where that is known, else as the data has it.

    Args:
        weights: that the network starts from.
        data: the images.
        channels: that the network takes; grey images become three equal ones by three means.

    Returns:
        Means, deviations, and whether they are the weights'.
    """
    mean, std, theirs = data.mean, data.std, False
    if weights is not None and weights.mean is not None and weights.std is not None:
        theirs = len(weights.mean) in (1, channels)
        mean, std = (weights.mean, weights.std) if theirs else (mean, std)
    missing = channels if len(mean) == 1 else 1
    return tuple(mean) * missing, tuple(std) * missing, theirs


def _known(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


@torch.no_grad()
def check_network(network: PixelNetwork, data: ImageData, task: Task | None = None, name: str = "") -> None:
    """Try the network on one grey image, before anything is written.

    Args:
        network: left in training mode.
        data: says how large images are.
        task: what the network is for, whose loss has to come out of it.
        name: of the network, for messages.

    Raises:
        ValueError: the images do not suit it, too small ones for example, or it gives something else than
            the task needs.
    """
    height, width = data.image_size
    try:
        outputs = network.eval()(torch.full((1, data.in_chans, height, width), 0.5))
    except Exception as error:  # of a network's code, whatever it says to what it cannot take
        if isinstance(error, ValueError) and form_of(name) == "own":
            raise  # in our own words
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"images of {height}×{width} pixels, {data.in_chans} channels received, which"
            f" {name or 'the network'} does not take ({reason}); needed: others; image_size= scales them"
        ) from error
    finally:
        network.train()
    wanted = None if task is None else task.shape(data.image_size)
    found = tuple(outputs.shape[1:]) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if wanted is not None and found != wanted:
        raise ValueError(
            f"{name or 'the network'} gives {found} for an image; needed: a tensor of {wanted} for each"
        )


def describe(
    config: Any, data: ImageData, options: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """What a checkpoint says of itself, enough to build its network again without any other file.

    Args:
        config: of the run.
        data: its images.
        options: further ones that the network was built with.
        **more: what is known of its start; see :class:`decoupled_nets.training.start.Begun`.
    """
    return {
        "decoupled_nets": {
            "config": config.flat(),
            "options": {**data.network_options, **(options or {})},
            "classes": list(data.classes),
            "in_chans": data.in_chans,
            "image_size": list(data.image_size),
            **origin_of(data, config.network),
            **more,
        }
    }


def load_network(path: str | Path) -> PixelNetwork:
    """The trained network of a checkpoint of ours, in evaluation mode: from pixels in [0, 1].

    Nothing else is read or fetched: neither the weights that it started from, nor the folder of a saved
    network that it was made from.

    Args:
        path: ``last.ckpt`` or ``best.ckpt``. Operators of a plugin have to be registered before, and the file
            of a function that makes the network imported, by ``import_code``.

    Returns:
        A module that takes images (B, C, H, W), its normalisation included.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of ours.
    """
    checkpoint = own_checkpoint(path)
    own, config = checkpoint["decoupled_nets"], _config_of(checkpoint)
    task = find_task(config.task)(own["classes"])
    prefix = "network."
    state = {k[len(prefix) :]: v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    rebuilt = _known(recipe=own.get("recipe"), code=own.get("code"))
    channels = own.get("channels", own["in_chans"])
    with torch.random.fork_rng(devices=[]):  # weights drawn only to be replaced
        network = task.network(config.network, config.operator, channels, **rebuilt, **own["options"])
    count = state["normalize.mean"].numel()
    whole = PixelNetwork(network, [0.0] * count, [1.0] * count)
    whole.load_state_dict(state)
    return whole.eval()


def load_config(path: str | Path) -> TrainConfig:
    """The configuration of the run that left a checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of ours.
    """
    return _config_of(own_checkpoint(path))


def load_origin(path: str | Path) -> dict[str, Any]:
    """The data and the version that a checkpoint of ours belongs to, as :func:`origin` has them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of ours, or one that does not note its data.
    """
    own = own_checkpoint(path)["decoupled_nets"]
    if "digest" not in own:
        raise ValueError(f"{path} does not note its data, written by an older version; needed: one that does")
    return {name: own[name] for name in ("version", "format", "digest", "found", "plugin") if name in own}


def own_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint of `train` or `compare`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another program's, or damaged.
    """
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
