"""``decoupled distil``: the named operators that a trained network's learned ones came to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor, nn

from .. import __version__
from .._files import write_atomically
from .._progress import Progress
from ..data import ImageData
from ..distillation import Distillation, DistilledLayer, distil
from ..evaluation.trained import checkpoint_in
from ..optim import decoupled_layers
from ..reports import figures
from ..reports.tables import Table, as_rich
from ..tasks import find_task
from ..training import load_config, load_network
from ..training.run import announce
from .options import Options, default_folder

BATCH = 128


@dataclass(frozen=True)
class DistilConfig:
    """What to read, and on how many images.

    Args:
        images: Training images whose norms and cosines are looked at; as many validation images tell the
            accuracy before and after the exchange.
        exchange: Exchange the learned operators for the named ones for a while, and measure the accuracy.
        theme: Colours of the picture.
        plugin: Python file or module that registers operators or makes the network; imported first.

    Raises:
        ValueError: there are fewer than 2 images.
    """

    images: int = 1000
    exchange: bool = True
    theme: Literal["light", "dark"] = "light"
    plugin: str | None = None

    def __post_init__(self) -> None:
        if self.images < 2:
            raise ValueError(f"images = {self.images} received; needed: at least 2")


def main(argv: Sequence[str]) -> None:
    """Print the nearest named operator of every layer and what the exchange costs; write both."""
    options = Options("distil", "Say which named operators learned ones came to.", DistilConfig)
    options.parser.add_argument(
        "checkpoint", type=str, help="A checkpoint or a training run's folder, whose best epoch is read."
    )
    given = options.parse(argv)
    config = options.build(given, argv)
    folder = Path(given.out) if given.out else default_folder("distil", config, also=[given.checkpoint])
    console = Console()
    checkpoint = checkpoint_in(Path(given.checkpoint))
    trained, network = load_config(checkpoint), load_network(checkpoint)
    data = find_task(trained.task).load(trained.data)
    announce(data)
    images = data.train_subset(config.images)[0]
    batches = list(images.split(BATCH))
    why_not = _why_not(network, config, trained.task)
    found = distil(network, batches, exchange=why_not is None, max_batches=len(batches))
    console.print(as_rich(_table(found)))
    console.print(str(found), highlight=False, soft_wrap=True)
    if why_not is None:
        accuracies = _accuracies(network, found, data, config.images)
    else:
        accuracies = {"exchange": why_not} if why_not else {}
    for key, value in accuracies.items():
        console.print(f"{key}: {value}", highlight=False, soft_wrap=True)
    picture = figures.png(figures.learned_operators(found.layers, config.theme))
    record = {"version": __version__, "checkpoint": str(checkpoint), "config": asdict(config),
              "operator": found.operator,
              "layers": [_plain(layer) for layer in found.layers], "exchange": accuracies}  # fmt: skip
    text = json.dumps(record, indent=1).encode()
    console.print("\nWritten:")
    for name, content in (("distil.json", text), ("learned.png", picture)):
        path = write_atomically(folder / name, lambda file, content=content: file.write(content))  # type: ignore[misc]
        console.print(f"  {path}", highlight=False, soft_wrap=True)


def _table(found: Distillation) -> Table:
    rows = []
    for layer in found.layers:
        h, g = layer.magnitudes[0], layer.angles[0]
        of_h, of_g = layer.learned.learned
        rows.append([
            layer.name if layer.row is None else f"{layer.name} [{layer.row}]",
            str(h), f"{100 * h.explained:.1f}" if of_h else "as given",
            str(g), f"{100 * g.explained:.1f}" if of_g else "as given",
            f"{100 * layer.explained:.2f}",
        ])  # fmt: skip
    header = ["Layer", "h is nearest to", "R², %", "g is nearest to", "R², %", "Response, %"]
    return Table("What was learned (m: mean norm; R² over the layer's own data)", header, rows)


def _plain(layer: DistilledLayer) -> dict[str, Any]:
    return {
        "name": layer.name, "group": layer.row, "learned": str(layer.learned), "operator": layer.operator,
        "explained": layer.explained,
        "magnitudes": [asdict(one) for one in layer.magnitudes],
        "angles": [asdict(one) for one in layer.angles],
        "mean_norm": layer.densities.unit, "fan_in": layer.densities.fan_in,
        "bins": layer.densities.centres.tolist(),
        "h": layer.functions[0].tolist(), "g": layer.functions[1].tolist(),
        "norms": layer.densities.size.tolist(), "cosines": layer.densities.turn.tolist(),
    }  # fmt: skip


def _why_not(network: nn.Module, config: DistilConfig, task: str) -> str | None:
    """Why no exchange is measured; "" if none was asked for."""
    if not config.exchange:
        return ""
    if task != "classify":
        return f"not measured: the task is {task}, and only accuracies are compared"
    if any(layer.operator.channel_groups > 1 for _, layer in decoupled_layers(network)):
        return "not possible: groups of channels have functions of their own"
    return None


def _accuracies(network: nn.Module, found: Distillation, data: ImageData, count: int) -> dict[str, str]:
    """Accuracy on validation images, with named operators everywhere and, these undone, as learned."""
    images, labels = data.val_subset(count)
    with Progress(2 * len(images), "Accuracies") as progress:
        named = _answers(network, images, progress)
        found.undo()
        learned = _answers(network, images, progress)
    agree = float((learned == named).double().mean())
    before, after = (100 * float((answers == labels).double().mean()) for answers in (learned, named))
    return {
        f"accuracy on {len(images)} validation images, as learned": f"{before:.1f} %",
        "with named operators everywhere": f"{after:.1f} % ({after - before:+.1f} points), without training",
        "same answers": f"{100 * agree:.1f} %",
    }


@torch.no_grad()
def _answers(model: nn.Module, images: Tensor, progress: Progress) -> Tensor:
    """The classes that a network tells."""
    answers = []
    for batch in images.split(BATCH):
        answers.append(model(batch).argmax(1))
        progress.advance(len(batch))
    return torch.cat(answers)
