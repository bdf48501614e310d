"""Recount an attack: networks and images are loaded again; distances are those of float64."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..data import load_data
from ..robustness import Threat, Victim
from ..robustness.evaluate import SLACK
from ..training.folder import saved
from .attack import CONFIG, NETWORKS
from .attack_config import AttackConfig
from .record import Record, read_record
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
        folder: that :func:`~decoupled_nets.evaluation.attack.attack` wrote. Operators of a plugin have to be
            registered before.

    Raises:
        FileNotFoundError: it holds no attack, or a network is gone.
        ValueError: a network is another than the one that was attacked.
    """
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG}; needed: a folder that decoupled attack wrote")
    options = saved(folder / CONFIG)
    targets = find_targets(options.pop("networks"))
    config = AttackConfig.of(**options)
    data = load_data(config.data)
    images, labels = data.test_subset(config.images or data.test_size)
    found = []
    for place in sorted((folder / NETWORKS).iterdir()):
        if (record := read_record(place)) is None:
            continue
        target = next((t for t in targets if t.label == record.label), None)
        if target is None or target.digest != record.summary["digest"]:
            raise ValueError(f"{record.label} is not the network that was attacked; needed: the same weights")
        victim = Victim(target.network(data).float().eval(), batch_size=config.batch_size)
        found.append(recount(record, victim, images, labels, Threat.parse(config.threat)))
    if not found:
        raise FileNotFoundError(f"{folder} holds no network whose attack ended; needed: one")
    return found


def recount(record: Record, victim: Victim, images: Tensor, labels: Tensor, threat: Threat) -> Recount:
    """What of a record holds.

    Args:
        record: as it was written.
        victim: the network.
        images: (n, C, H, W), unchanged.
        labels: (n,).
        threat: norm and radius.
    """
    changed = record.changed
    clean = victim.predict(images) == labels
    stands = clean & (victim.predict(changed) == labels)
    outside = int((threat.distance(changed, images) > threat.radius + SLACK * max(1.0, threat.radius)).sum())
    hashes = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images]
    wrong = sum(
        int((now != torch.tensor(record.rows[name])).sum())
        for name, now in (("clean", clean), ("robust", stands))
    )
    said = (record.summary["clean"], record.summary["robust"])
    faults = {
        "the images are not those that were attacked": hashes != record.rows["sha256"],
        "their labels are others": labels.tolist() != record.rows["label"],
        f"{outside} changes leave the ball of {threat}": outside > 0,
        "pixels leave [0, 1]": float(changed.min()) < 0 or float(changed.max()) > 1,
        f"{wrong} entries of clean or robust do not hold": wrong > 0,
        "the counts do not hold": said != (int(clean.sum()), int(stands.sum())),
    }
    seen = [text for text, is_so in faults.items() if is_so]
    return Recount(record.label, len(images), int(clean.sum()), int(stands.sum()), said, seen)
