"""``distil``: what the learned operators of a trained network have become, and what an exchange costs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from torch import Tensor, nn

from .. import __version__
from .._files import write_atomically, write_text
from .._progress import Progress
from .._statistics import Paired, paired
from ..data import ImageData, load_data
from ..distillation import Distillation, distil
from ..hub import save_pretrained
from ..reports.figures import learned_operators, png
from ..robustness.victim import Victim
from ..training.run import announce
from .device import device_of
from .distil_config import DistilConfig
from .folder import belongs_to, claimed
from .targets import Target, data_config, find_targets

RESULTS, CONFIG, PICTURE, EXCHANGED = "distil.json", "distil.yaml", "learned_operators.png", "exchanged"
LEFT_BEHIND = (RESULTS, CONFIG, PICTURE, EXCHANGED)
_SPLITS = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class Distilled:
    """What there is of a network.

    Attributes:
        report: the layers.
        split: the images that accuracy is measured on, in words.
        images: how many.
        before: the accuracy with learned operators.
        after: with the nearest named ones; None without an exchange.
        change: of the accuracy, image by image.
        notes: what else has to be said.
    """

    report: Distillation
    split: str
    images: int
    before: float
    after: float | None
    change: Paired | None
    notes: tuple[str, ...] = ()

    @property
    def accuracy(self) -> str:
        """What is right, in a sentence."""
        said = f"Accuracy on {self.images:,} {self.split} images: {100 * self.before:.1f} %"
        if self.after is None or self.change is None:
            return f"{said}."
        mean, low, high = (
            f"{100 * v + 0:+.1f}" for v in (self.change.mean, self.change.low, self.change.high)
        )
        change = f"{mean} points, 95 % interval {low} to {high}".replace("-", "−")
        return f"{said} as learned, {100 * self.after:.1f} % exchanged everywhere ({change})."

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        change = self.change and dataclasses.asdict(self.change)
        return {
            "split": self.split, "images": self.images, "before": self.before, "after": self.after,
            "change": change, "notes": list(self.notes), **self.report.to_dict(),
        }  # fmt: skip


def distil_network(
    place: str,
    config: DistilConfig,
    folder: Path,
    *,
    data_named: bool = True,
    restart: bool = False,
    quiet: bool = False,
) -> tuple[Distilled, list[Path]]:
    """Read the learned operators of a network on training images, exchange them, and measure what changes.

    What is written: ``distil.json``, ``learned_operators.png`` and, if asked, the exchanged network.

    Args:
        place: of the network; see :func:`~decoupled_nets.evaluation.targets.find_targets`.
        config: the whole configuration.
        folder: where results go.
        data_named: whether `config` names the images; otherwise they are those of the network.
        restart: begin anew in place of what `folder` holds.
        quiet: neither print what was found nor draw progress.

    Returns:
        What there is, and the files written.

    Raises:
        FileNotFoundError: there is no such network.
        ValueError: there are several, it learns no operator, it does not suit the images, or `folder` holds
            other results.
    """
    target = _one(place)
    config = dataclasses.replace(config, data=data_config([target], config.data, data_named))
    data = load_data(config.data)
    if not quiet:
        announce(data)
        if target.unfinished:
            Console(stderr=True).print(target.unfinished, highlight=False, soft_wrap=True)
    images, _ = data.train_subset(config.images or data.train_size)
    own = belongs_to("distil", _identity(config), [target], data, images)
    with claimed(folder, own, left_behind=LEFT_BEHIND, restart=restart):
        write_text(folder / CONFIG, yaml.safe_dump({"network": place, **config.flat()}, sort_keys=False))
        network = target.network(data).float().to(device_of(config.accelerator)).eval()
        found = _measured(network, target, images, config, data, quiet)
        about = {
            "version": __version__, "network": place, "digest": target.digest, "data": data.name,
            "data_digest": data.digest, "read_on": len(images), "options": config.flat(),
        }  # fmt: skip
        text = json.dumps({**about, **found.to_dict()}, indent=1, ensure_ascii=False)
        picture = png(learned_operators(found.report, config.theme))
        paths = [
            write_text(folder / RESULTS, text),
            write_atomically(folder / PICTURE, lambda file: file.write(picture)),
        ]
        if config.save:
            right = {f"{found.split.capitalize()} accuracy, %": round(100 * (found.after or 0.0), 2)}
            paths.append(save_pretrained(network, folder / EXCHANGED, right))
    return found, paths


def _one(place: str) -> Target:
    targets = find_targets([place])
    if len(targets) > 1:
        first = ", ".join([*(t.place for t in targets[:2]), *(["..."] if len(targets) > 2 else [])])
        raise ValueError(f"{place} holds {len(targets)} networks ({first}); needed: one of them")
    return targets[0]


def _identity(config: DistilConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("candidates", "images", "exchange", "split")}


def _measured(
    network: nn.Module, target: Target, images: Tensor, config: DistilConfig, data: ImageData, quiet: bool
) -> Distilled:
    batches = images.split(config.batch_size)
    distil(network, batches[:1], candidates=config.names)  # raises at once if there is nothing to read
    before = _right(network, config, data, "accuracy as learned", quiet)
    with Progress((3 if config.exchange else 1) * len(images), "distillation", quiet=quiet) as progress:

        def forward(network: nn.Module, batch: Tensor) -> Any:
            outputs = network(batch)
            progress.advance(len(batch))
            return outputs

        report = distil(
            network, batches, candidates=config.names, forward=forward, max_batches=len(batches),
            exchange=config.exchange,
        )  # fmt: skip
    after = _right(network, config, data, "accuracy exchanged", quiet) if config.exchange else None
    return Distilled(
        report,
        _SPLITS[config.split],
        len(before),
        _share(before),
        None if after is None else _share(after),
        None if after is None else paired(before.tolist(), after.tolist()),
        tuple(target.notes(data)),
    )


def _right(network: nn.Module, config: DistilConfig, data: ImageData, label: str, quiet: bool) -> Tensor:
    """Of each image, whether it is classified correctly: (n,)."""
    victim, device = Victim(network, batch_size=config.batch_size), next(network.parameters()).device
    test = config.split == "test"
    loader = data.test_loader if test else data.val_loader
    right = []
    with Progress(data.test_size if test else data.val_size, label, quiet=quiet) as progress:
        for images, labels in loader(config.batch_size):
            right.append(victim.predict(images.to(device)).cpu() == labels)
            progress.advance(len(labels))
    return torch.cat(right)


def _share(right: Tensor) -> float:
    return float(right.double().mean())
