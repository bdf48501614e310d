"""Trained networks from whatever place holds one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..hub import from_pretrained
from ..training import load_network
from ..training.checkpoint import load_checkpoint

#: The epoch chosen by validation goes before the last.
CHECKPOINTS = ("best.ckpt", "last.ckpt")


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, and the images it was made for."""

    network: nn.Module
    in_chans: int
    image_size: tuple[int, int]


def load_trained(place: str | Path) -> Trained:
    """The network of a checkpoint, of a training run's folder, or of a folder of ``save_pretrained``.

    Raises:
        FileNotFoundError: there is nothing of the kind.
        ValueError: it is not one of ours, or is damaged.
    """
    place = Path(place)
    if place.is_dir() and (place / "config.json").is_file():
        return _pretrained(place)
    if place.is_dir():
        place = checkpoint_in(place)
    network = load_network(place)
    own = load_checkpoint(place)["decoupled_nets"]
    height, width = own["image_size"]
    return Trained(network, own["in_chans"], (height, width))


def checkpoint_in(place: Path) -> Path:
    """The file itself, or the best epoch's of a training run's folder.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    if not place.is_dir():
        return place
    found = [place / name for name in CHECKPOINTS if (place / name).is_file()]
    if not found:
        raise FileNotFoundError(
            f"{place} holds neither {' nor '.join(CHECKPOINTS)} nor config.json; needed: a checkpoint, a "
            "training run's folder, or a folder of save_pretrained"
        )
    return found[0]


def _pretrained(folder: Path) -> Trained:
    model: Any = from_pretrained(folder)
    inner = getattr(model, "network", model)
    cfg: Any = getattr(inner, "pretrained_cfg", None) or {}
    cfg = cfg if isinstance(cfg, dict) else vars(cfg)
    size = cfg.get("input_size") or (3, 224, 224)
    first = next(m for m in inner.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    return Trained(model, int(first.weight.shape[1]), (int(size[-2]), int(size[-1])))
