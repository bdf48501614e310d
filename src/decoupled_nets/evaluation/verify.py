"""Recount an attack: what was written is checked against the networks and the images, in float64."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from ..data import load_data
from ..robustness import Threat, Victim
from ..robustness.evaluate import SLACK
from ..training.folder import saved
from .attack import CONFIG, NETWORKS
from .attack_config import AttackConfig
from .record import read_record
from .targets import find_targets


@dataclass(frozen=True)
class Recount:
    """What of a record holds.

    Attributes:
        label: Of the network.
        images: How many.
        clean: Right as they are, counted anew.
        robust: Right as they are and with the changed image, counted anew.
        said: What the record says of both.
        faults: What does not hold, in words.
    """

    label: str
    images: int
    clean: int
    robust: int
    said: tuple[int, int]
    faults: list[str]


def verify(folder: Path) -> list[Recount]:
    """Load networks and images of an attack again, and look at every changed image.

    Args:
        folder: that :func:`~decoupled_nets.evaluation.attack.attack` wrote.

    Raises:
        FileNotFoundError: it holds no attack, or a network is gone.
    """
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG}; needed: a folder that decoupled attack wrote")
    options = saved(folder / CONFIG)
    places = options.pop("networks")
    config = AttackConfig.of(**options)
    targets = find_targets(places, plugin=config.plugin)
    data = load_data(config.data)
    images, labels = data.test_subset(config.images or data.test_size)
    threat, found = Threat.parse(config.threat), []
    for place in sorted((folder / NETWORKS).iterdir()):
        record = read_record(place)
        if record is None:
            continue
        target = next((t for t in targets if t.label == record.label), None)
        if target is None or target.digest != record.summary["digest"]:
            raise ValueError(f"{record.label} is not the network that was attacked; needed: the same weights")
        victim = Victim(target.network(data).float().eval(), batch_size=config.batch_size)
        changed = record.changed
        clean = victim.predict(images) == labels
        stands = clean & (victim.predict(changed) == labels)
        faults = []
        hashes = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images]
        if hashes != record.rows["sha256"]:
            faults.append("the images are not those that were attacked")
        away = threat.distance(changed, images)
        if bool((away > threat.radius + SLACK).any()):
            faults.append(f"{int((away > threat.radius + SLACK).sum())} changes leave the ball of {threat}")
        if float(changed.min()) < 0 or float(changed.max()) > 1:
            faults.append("pixels leave [0, 1]")
        wrong = int((clean != torch.tensor(record.rows["clean"])).sum())
        wrong += int((stands != torch.tensor(record.rows["robust"])).sum())
        if wrong:
            faults.append(f"{wrong} entries of clean or robust do not hold")
        said = (record.summary["clean"], record.summary["robust"])
        if said != (int(clean.sum()), int(stands.sum())):
            faults.append("the counts do not hold")
        found.append(Recount(record.label, len(images), int(clean.sum()), int(stands.sum()), said, faults))
    if not found:
        raise FileNotFoundError(f"{folder} holds no network whose attack ended; needed: one")
    return found
