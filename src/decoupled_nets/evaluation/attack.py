"""``attack``: what attacks leave of trained networks, all on the same images."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import yaml
from rich.console import Console
from torch import Tensor, nn

from .. import _claims
from .._files import write_text
from .._progress import Progress
from ..data import ImageData, load_data
from ..robustness import Robustness, Threat, evaluate, work_of
from ..robustness.attacks.fmn import minimum
from ..robustness.victim import Victim
from ..training.run import announce
from .attack_config import AttackConfig
from .attack_page import write_page
from .attacks import Attacks
from .device import device_of
from .folder import PARTS, belongs_to, claimed
from .record import Record, read_record, write_record
from .targets import Target, data_config, find_targets
from .trainings import training_of
from .transferring import Transfer, transfer

RESULTS = "attack.json"
CONFIG = "attack.yaml"
NETWORKS = "networks"
TRANSFER = "transfer.json"
TRANSFERRING = "transfer"
LEFT_BEHIND = (RESULTS, CONFIG, NETWORKS, TRANSFER, TRANSFERRING, "report.html", "*.png")
_OF_FMN = 300  # forward passes that the search for the nearest change takes
Say = Callable[[str], None]


def attack(
    places: Sequence[str],
    config: AttackConfig,
    folder: Path,
    *,
    data_named: bool = True,
    restart: bool = False,
    quiet: bool = False,
) -> tuple[Attacks, list[Path]]:
    """Attack networks, all on the same test images, and keep what became of each image.

    An interrupted attack goes on where it was, and several calls at the same time share the networks.
    What is written: ``attack.json``, ``report.html`` with its
    figures, and in ``networks/`` for each a row an image, the changed images and a summary.

    Args:
        places: of the networks; see :func:`~decoupled_nets.evaluation.targets.find_targets`.
        config: the whole configuration.
        folder: where results go.
        data_named: whether `config` names the images; otherwise they are those of the first network.
        restart: attack anew in place of what `folder` holds.
        quiet: neither print what was found nor draw progress.

    Returns:
        What there is, and the files written.

    Raises:
        FileNotFoundError: there is no such network.
        ValueError: a network does not suit the images, or `folder` holds other results.
    """
    targets = find_targets(places)
    config = dataclasses.replace(config, data=data_config(targets, config.data, data_named))
    data = load_data(config.data)
    if not quiet:
        announce(data)
    images, labels = data.test_subset(config.images or data.test_size)
    own = belongs_to("attack", config.identity(), targets, data, images)
    with claimed(folder, own, left_behind=LEFT_BEHIND, restart=restart, shared=True):
        write_text(folder / CONFIG, yaml.safe_dump({"networks": list(places), **config.flat()}))
        run = _Run(targets, config, folder, data, images, labels, quiet)
        found = run.all(list(places))
        results = write_text(folder / RESULTS, json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
        paths = [results, *write_page(found, folder, images)]
    return found, paths


@dataclass
class _Run:
    """Attacks on their way."""

    targets: list[Target]
    config: AttackConfig
    folder: Path
    data: ImageData
    images: Tensor
    labels: Tensor
    quiet: bool

    @cached_property
    def device(self) -> torch.device:
        """Where networks are attacked."""
        return device_of(self.config.accelerator)

    def network(self, target: Target) -> nn.Module:
        """Load one."""
        return target.network(self.data).float().to(self.device).eval()

    def all(self, places: list[str]) -> Attacks:
        """Every network, and what goes between them."""
        notes = self._leave_out_diverged()
        if self.config.transfer and len(self.targets) < 2:
            raise ValueError("transfer = True received with one network; needed: at least 2")
        if not self.quiet:
            Console(stderr=True).print(
                f"{len(self.images)} test images, {Threat.parse(self.config.threat)}, suite"
                f" {self.config.suite}; results in {self.folder}",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
            for said in filter(None, (target.unfinished for target in self.targets)):
                Console(stderr=True).print(said, highlight=False, soft_wrap=True)
        records = self._records()
        moved = self._transfer() if self.config.transfer else None
        notes += [note for target in self.targets for note in target.notes(self.data)]
        height, width = self.data.image_size
        data = {
            "name": self.data.name, "digest": self.data.digest, "classes": list(self.data.classes),
            "image_size": [height, width], "in_chans": self.data.in_chans, "images": len(self.images),
        }  # fmt: skip
        return Attacks(self.config, places, records, moved, data, list(dict.fromkeys(notes)))

    def _leave_out_diverged(self) -> list[str]:
        """Try every network before the first attack; one whose outputs are no numbers is left out."""
        said, stay = [], []
        for target in self.targets:
            network = self.network(target)
            with torch.no_grad():
                outputs = network(self.images[:1].to(self.device))
            if isinstance(outputs, Tensor) and not bool(outputs.isfinite().all()):
                said.append(f"{target.label} is left out: its outputs are no numbers, so it diverged")
            else:
                stay.append(target)
        if not stay:
            raise ValueError(f"{'; '.join(said)}; needed: a network whose outputs are numbers")
        self.targets = stay
        return said

    def _records(self) -> list[Record]:
        """Attack what nobody else is at, and wait for what others are at."""
        places = [self.folder / NETWORKS / _slug(number, t) for number, t in enumerate(self.targets)]
        found: dict[int, Record] = {}
        while len(found) < len(places):
            before = len(found)
            for number, place in enumerate(places):
                if number not in found and (record := self._done(number, place)) is not None:
                    found[number] = record
            if len(found) == before:
                time.sleep(1.0)
        return [found[number] for number in range(len(places))]

    def _done(self, number: int, place: Path) -> Record | None:
        """The record of a network; None: somebody else is at it."""
        if (there := read_record(place)) is not None:
            return there
        if (claim := _claims.take(place)) is None:
            return None
        with claim.start():
            return read_record(place) or self._one(number, place)

    def _one(self, number: int, place: Path) -> Record:
        target = self.targets[number]
        config, network = self.config, self.network(target)
        classes, count = len(self.data.classes), len(self.images)
        work = work_of(config.suite, config.threat, count, classes)
        title = f"{target.label} ({number + 1} of {len(self.targets)})"
        with Progress(work + (_OF_FMN * count if config.sweep else 0), title, quiet=self.quiet) as progress:
            found = evaluate(
                network, self.images.to(self.device), self.labels.to(self.device), config.threat,
                config.suite, seed=config.seed, batch_size=config.batch_size,
                state=self.folder / PARTS / place.name, advance=progress.advance,
            )  # fmt: skip
            nearest = self._nearest(network, found, progress) if config.sweep else None
        trained = training_of(target, network, self.data, self.device)
        more = {
            "label": target.label, "group": target.group, "operator": target.operator, "seed_of_network":
            target.seed, "place": target.place, "digest": target.digest, "training": trained,
            "model": target.config.network.model if target.config else target.place,
            "batch_norm": target.config.network.batch_norm if target.config else None,
            "relu": target.config.network.relu if target.config else None,
            "parameters": sum(p.numel() for p in network.parameters()),
        }  # fmt: skip
        attacked = Victim(network, batch_size=config.batch_size).predict(found.adversarial.to(self.device))
        record = write_record(place, found, self.images, attacked.cpu(), more, nearest)
        shutil.rmtree(self.folder / PARTS / place.name, ignore_errors=True)
        return record

    def _nearest(self, network: nn.Module, found: Robustness, progress: Progress) -> Tensor:
        """The smallest change of each image; what lies within the threat's radius counts as broken, too."""
        victim, began = Victim(network, batch_size=self.config.batch_size), time.perf_counter()
        threat, images, distances = Threat.parse(self.config.threat), [], []
        for some, labels in zip(
            self.images.split(victim.batch_size), self.labels.split(victim.batch_size), strict=True
        ):
            near = minimum(victim, some.to(self.device), labels.to(self.device), threat.norm)
            images.append(near.images.cpu())
            distances.append(near.distance.cpu().double())
            progress.advance(_OF_FMN * len(some))
        nearest = torch.minimum(torch.cat(distances), found.distance)
        changed = threat.project(torch.cat(images), self.images)
        wrong = victim.predict(changed.to(self.device)).cpu() != self.labels
        found.also_broken(
            "fmn", "FMN, of the sweep", wrong & (nearest <= threat.radius), changed, nearest,
            time.perf_counter() - began, victim.forwards, victim.backwards,
        )  # fmt: skip
        return nearest

    def _transfer(self) -> Transfer:
        path = self.folder / TRANSFER
        while not path.is_file():
            if (claim := _claims.take(path.parent / TRANSFERRING)) is None:
                time.sleep(1.0)
                continue
            with claim.start():
                if not path.is_file():
                    self._make_transfer(path)
        return Transfer(**json.loads(path.read_text(encoding="utf-8")))

    def _make_transfer(self, path: Path) -> None:
        networks = {target.label: self.network(target) for target in self.targets}
        found = transfer(
            networks, self.images.to(self.device), self.labels.to(self.device),
            Threat.parse(self.config.threat), seed=self.config.seed, batch_size=self.config.batch_size,
            quiet=self.quiet, also=("fgsm", "bim") if self.config.suite == "paper" else (),
        )  # fmt: skip
        write_text(path, json.dumps(found.to_dict(), indent=1))


def _slug(number: int, target: Target) -> str:
    name = re.sub(r"[^\w.-]+", "-", target.label).strip("-.")[:80]
    return f"{number:02d}-{name}"
