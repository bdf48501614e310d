"""``corrupt``: trained networks on corrupted test images, all on the same ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from rich.console import Console
from safetensors.torch import load_file, save
from torch import Tensor

from .._files import write_atomically, write_text
from .._progress import Progress
from ..data import ImageData, load_data
from ..robustness.victim import Victim
from ..training.run import announce
from .corrupt_config import CorruptConfig
from .corrupt_images import Given
from .corrupt_page import write_page
from .corrupted import Cell, Corrupted
from .device import device_of
from .folder import PARTS, belongs_to, claimed
from .published import Published
from .targets import Target, data_config, find_targets

RESULTS = "corrupt.json"
CONFIG = "corrupt.yaml"
ROWS = "images.parquet"
LEFT_BEHIND = (RESULTS, CONFIG, ROWS, "report.html", "*.png")


def corrupt(
    places: Sequence[str],
    config: CorruptConfig,
    folder: Path,
    *,
    published: str | None = None,
    data_named: bool = True,
    restart: bool = False,
    quiet: bool = False,
) -> tuple[Corrupted, list[Path]]:
    """Have networks classify corrupted test images, and keep what they take each for.

    What was done is kept after every corruption, severity and network: an interrupted call goes on there.
    What is written: ``corrupt.json``, ``images.parquet`` with a row for each network, corruption, severity
    and image, and ``report.html`` with its figures.

    Args:
        places: of the networks; see :func:`~decoupled_nets.evaluation.targets.find_targets`. The first is
            what the others are compared with.
        config: the whole configuration.
        folder: where results go.
        published: folder of published corrupted images, such as CIFAR-10-C, to take in place of ours.
        data_named: whether `config` names the images; otherwise they are those of the first network.
        restart: measure anew in place of what `folder` holds.
        quiet: neither print what was found nor draw progress.

    Returns:
        What there is, and the files written.

    Raises:
        FileNotFoundError: there is no such network, or there are no published files.
        ValueError: a network does not suit the images, or `folder` holds other results.
    """
    targets = find_targets(places)
    config = dataclasses.replace(config, data=data_config(targets, config.data, data_named))
    data = load_data(config.data)
    given = Given(config, data, None if published is None else Published(published))
    run = _Run(targets, config, folder, data, given, quiet)
    if not quiet:
        announce(data)
        for note in run.notes:
            Console(stderr=True).print(f"{note[0].upper()}{note[1:]}.", highlight=False, soft_wrap=True)
    own = belongs_to("corrupt", given.identity(), targets, data, given.clean)
    with claimed(folder, own, left_behind=LEFT_BEHIND, restart=restart):
        said = {"networks": list(places), "from": published, **config.flat()}
        write_text(folder / CONFIG, yaml.safe_dump(said, sort_keys=False))
        found = run.all(list(places), published)
        results = write_text(folder / RESULTS, json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
        rows = write_atomically(folder / ROWS, lambda file: file.write(found.parquet()))
        paths = [results, rows, *write_page(found, folder, given.example)]
    return found, paths


@dataclass
class _Run:
    """Networks on their way through corruptions."""

    targets: list[Target]
    config: CorruptConfig
    folder: Path
    data: ImageData
    given: Given
    quiet: bool

    @property
    def notes(self) -> list[str]:
        """What has to be said, of images and networks."""
        of_networks = [note for target in self.targets for note in target.notes(self.data)]
        for target in self.targets:
            own = target.config and target.config.data
            if own and (own.color_jitter or own.randaugment):
                of_networks.append(
                    f"{target.label} was trained on images of changed brightness, contrast and saturation:"
                    " those corruptions are not new to it"
                )
        return list(dict.fromkeys([*self.given.notes, *of_networks]))

    @cached_property
    def device(self) -> torch.device:
        """Where the networks are."""
        return device_of(self.config.accelerator)

    def all(self, places: list[str], published: str | None) -> Corrupted:
        """Every network on every corruption at every severity."""
        victims, networks = {}, []
        for target in self.targets:
            network = target.network(self.data).float().to(self.device).eval()
            victims[target.label] = Victim(network, batch_size=self.config.batch_size)
            networks.append({
                "label": target.label, "group": target.group, "seed": target.seed,
                "operator": target.operator, "place": target.place, "digest": target.digest,
                "parameters": sum(p.numel() for p in network.parameters()),
            })  # fmt: skip
        height, width = self.data.image_size
        data = {
            "name": self.data.name, "digest": self.data.digest, "classes": list(self.data.classes),
            "image_size": [height, width], "in_chans": self.data.in_chans, "images": self.given.count,
        }  # fmt: skip
        found = Corrupted(
            self.config, places, published, self.given.constants, networks, self.given.kinds,
            self.config.levels, self.given.labels.numpy(), {}, self.given.clean_labels.numpy(), data,
            self.notes,
        )  # fmt: skip
        total = len(found.cells) * len(victims) * self.given.count
        with Progress(total, "corruptions", quiet=self.quiet) as progress:
            columns = {cell: self._cell(cell, victims, progress) for cell in found.cells}
        found.predicted = {label: {cell: columns[cell][label] for cell in found.cells} for label in victims}
        return found

    def _cell(
        self, cell: Cell, victims: dict[str, Victim], progress: Progress
    ) -> dict[str, NDArray[np.int64]]:
        """What each network takes the images for, (n,): kept from before, or asked."""
        name, severity = cell
        progress.describe(f"{name} {severity}" if severity else "no corruption")
        paths = {
            target.label: self.folder / PARTS / f"{name}-{severity}" / f"{_short(target)}.safetensors"
            for target in self.targets
        }
        made: dict[str, list[Tensor]] = {label: [] for label, path in paths.items() if not path.is_file()}
        progress.skip((len(paths) - len(made)) * self.given.count)
        for images in self.given.parts(cell) if made else ():
            moved = images.to(self.device)
            for label, parts in made.items():
                parts.append(victims[label].predict(moved).cpu())
                progress.advance(len(images))
        for label, parts in made.items():
            content = save({"predicted": torch.cat(parts).to(torch.int32)})
            write_atomically(paths[label], lambda file, content=content: file.write(content))  # type: ignore[misc]
        return {label: _read(path, self.given.count) for label, path in paths.items()}


def _short(target: Target) -> str:
    """The name of a network's files: its digest may be a library's name."""
    return hashlib.sha256(target.digest.encode()).hexdigest()[:16]


def _read(path: Path, count: int) -> NDArray[np.int64]:
    try:
        found = load_file(path)["predicted"].numpy().astype(np.int64)
    except Exception as error:  # safetensors has an error of its own for each kind of damage
        raise ValueError(
            f"{path} is damaged ({' '.join(str(error).split())}); needed: --restart, or another folder"
        ) from error
    if found.shape != (count,):
        raise ValueError(f"{path} is of {len(found)} images; needed: {count}; --restart measures anew")
    return found
