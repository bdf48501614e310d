"""The networks that a command line names: checkpoints, folders, names of libraries."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from .._code import import_code
from .._options import owners
from ..data import DataConfig, ImageData
from ..hub import from_pretrained
from ..hub.files import CONFIG, WEIGHTS, read_saved
from ..models import NetworkConfig
from ..networks import form_of
from ..networks.given import Given, given_weights
from ..tasks import find_task
from ..training import TrainConfig, load_network
from ..training.network import build_network, own_checkpoint
from .trained import CHECKPOINTS

_RUNS = "runs/*-seed*/last.ckpt"


@dataclass(frozen=True)
class Target:
    """A trained network by its place, not loaded yet.

    Attributes:
        label: What tables call it.
        place: The file, folder or name.
        digest: Hash of its weights: what a result belongs to.
        load: From the data to the network, in evaluation mode, pixels in [0, 1] go in.
        operator: Of its convolutions; empty where it is not known.
        seed: Of its training.
        config: How it was trained; None: not by this package.
        origin: The data that it was trained on, and the version; see `training.folder.origin`.
        history: Its epochs.
        classes: Names of the classes; None: nothing is known.
    """

    label: str
    place: str
    digest: str
    load: Callable[[ImageData], nn.Module] = field(compare=False)
    operator: str = ""
    seed: int | None = None
    config: TrainConfig | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    classes: tuple[str, ...] | None = None

    @property
    def group(self) -> str:
        """What it is a seed of: the label without the seed."""
        return re.sub(r", seed \d+$", "", self.label)

    def network(self, data: ImageData) -> nn.Module:
        """Load it, for images of these classes.

        Raises:
            ValueError: it is of other classes, or of another number of channels.
        """
        if self.classes is not None and self.classes != tuple(data.classes):
            raise ValueError(
                f"{self.place} tells {_some(self.classes)} apart and {data.name} has {_some(data.classes)};"
                " needed: images of the network's own classes"
            )
        return self.load(data).eval()

    def notes(self, data: ImageData) -> list[str]:
        """What has to be said of measuring it on these images."""
        then = self.origin.get("digest")
        if then and then != data.digest:
            return [
                f"{self.label} was trained on other images than those of {data.name}: it may have seen"
                " some of these test images in its training"
            ]
        if not then:
            return [f"{self.label} does not say which images it was trained on"]
        return []


def _some(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:4])}{', …' if len(classes) > 4 else ''})"


def find_targets(places: Sequence[str], *, plugin: str | None = None) -> list[Target]:
    """The networks at these places, in their order.

    Args:
        places: each a checkpoint, the folder of a training run (its best epoch), of a comparison (all its
            networks, at the end of their training) or of ``save_pretrained``, or a network of a library by
            its name: ``timm:resnet18`` with the library's weights, ``timm:resnet18@FILE`` with a file's.
        plugin: Python file or module that registers operators; imported before.

    Raises:
        FileNotFoundError: there is nothing there.
        ValueError: what is there is no classifier of ours, or it is named twice.
    """
    if plugin:
        import_code(plugin)
    found = [target for place in places for target in _at(place)]
    if not found:
        raise ValueError("no network received; needed: a checkpoint, a folder or a name, such as runs/demo")
    digests = [target.digest for target in found]
    for place, target in enumerate(found):
        if target.digest in digests[:place]:
            other = found[digests.index(target.digest)]
            raise ValueError(f"{target.place} and {other.place} hold the same network; needed: each once")
    return _told_apart(found)


def _at(place: str) -> list[Target]:
    path = Path(place)
    if path.is_file():
        return [_checkpoint(path)]
    if path.is_dir():
        if (path / CONFIG).is_file() and (path / WEIGHTS).is_file():
            return [_saved(path)]
        if runs := sorted(path.glob(_RUNS), key=_by_seed):
            return _comparison(path, runs)
        for name in CHECKPOINTS:
            if (path / name).is_file():
                return [_checkpoint(path / name)]
        raise FileNotFoundError(
            f"{place} holds neither {' nor '.join(CHECKPOINTS)} nor runs nor {CONFIG}; needed: the folder of"
            " a training run, of a comparison or of save_pretrained"
        )
    name, _, weights = place.partition("@")
    if ":" in name and form_of(name) == "library":
        return [_library(name, weights or None)]
    raise FileNotFoundError(
        f"{place} is neither a file nor a folder; needed: a checkpoint, a folder of a run, of a comparison or"
        " of save_pretrained, or a name such as timm:resnet18@weights.safetensors"
    )


def _by_seed(path: Path) -> tuple[str, int]:
    name, _, seed = path.parent.name.rpartition("-seed")
    return name, int(seed) if seed.isdigit() else 0


def _comparison(folder: Path, runs: list[Path]) -> list[Target]:
    """All networks of a comparison, by its operators' order and then by seed."""
    # Where the epoch was chosen, as in adversarial training, it is the chosen one.
    best, last = CHECKPOINTS
    found = [_checkpoint(path.with_name(best if path.with_name(best).is_file() else last)) for path in runs]
    order: list[str] = []
    if (folder / "config.yaml").is_file():
        said = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        order = [name.strip() for name in str((said or {}).get("operators", "")).split(",")]
    place = {operator: i for i, operator in enumerate(order)}
    return sorted(found, key=lambda t: (place.get(t.operator, len(place)), t.seed or 0))


def _checkpoint(path: Path) -> Target:
    checkpoint = own_checkpoint(path)
    own = checkpoint["decoupled_nets"]
    config = TrainConfig.of(**{n: v for n, v in own["config"].items() if n in owners(TrainConfig)})
    if config.task != "classify":
        raise ValueError(
            f"{path} is a network for {config.task}; needed: a classifier, as attacks and corruptions are"
            " measured by classification"
        )
    seed = config.machine.seed
    return Target(
        f"{config.operator}, seed {seed}", str(path), _digest(path), lambda data: load_network(path),
        config.operator, seed, config, {n: own[n] for n in ("version", "digest", "found") if n in own},
        checkpoint.get("history", []), tuple(own["classes"]),
    )  # fmt: skip


def _saved(folder: Path) -> Target:
    config, _ = read_saved(folder)
    names = config.get("classes") or None
    return Target(
        folder.name, str(folder), _digest(folder / WEIGHTS), lambda data: from_pretrained(folder),
        classes=tuple(names) if names else None,
    )  # fmt: skip


def _library(model: str, weights: str | None) -> Target:
    config = NetworkConfig(model=model, weights=weights, pretrained=weights is None)
    digest = _digest(Path(weights)) if weights else f"pretrained {model}"
    return Target(model, model, digest, partial(_build, config))


def _build(config: NetworkConfig, data: ImageData) -> nn.Module:
    given = Given(given_weights(config))
    task = find_task("classify")(data.classes)
    network = build_network(task, config, "conv", data, given=given)
    loaded = given.loaded
    if loaded is None or loaded.missing or loaded.other_shape:
        raise ValueError(
            f"weights of {config.model} that do not fill the network for {len(data.classes)} classes"
            f" received; needed: all of them, as what is new is not trained\n{loaded}"
        )
    return network


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _told_apart(found: list[Target]) -> list[Target]:
    """Labels that differ: by what tells the trainings apart, or else by the place."""
    labels = [target.label for target in found]
    alike = [t for t in found if labels.count(t.label) > 1]
    if not alike:
        return found
    renamed = []
    for target in found:
        if labels.count(target.label) > 1:
            where = Path(target.place)
            name = (
                where.parent.parent.parent.name if where.parent.parent.name == "runs" else where.parent.name
            )
            label = f"{target.group} ({name})" + ("" if target.seed is None else f", seed {target.seed}")
            target = dataclasses.replace(target, label=label)
        renamed.append(target)
    labels = [target.label for target in renamed]
    return [
        dataclasses.replace(t, label=f"{t.group} ({t.place})") if labels.count(t.label) > 1 else t
        for t in renamed
    ]


def data_config(targets: Sequence[Target], given: DataConfig, named: bool) -> DataConfig:
    """The images to measure on: the given ones, or those that the first network was trained on.

    Args:
        targets: the networks.
        given: what the command line says.
        named: whether it names a data set; otherwise its further options change what the run says.

    Raises:
        ValueError: no data set is known.
    """
    if named:
        return given
    first = next((target.config for target in targets if target.config is not None), None)
    if first is None:
        raise ValueError("no data set received; needed: --data, as the networks do not say theirs")
    usual = DataConfig()
    changed = {
        f.name: getattr(given, f.name)
        for f in dataclasses.fields(given)
        if getattr(given, f.name) != getattr(usual, f.name)
    }
    return dataclasses.replace(first.data, **changed)
