"""The networks that a command line names: checkpoints, folders, names of libraries."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from .._options import owners
from ..data import DataConfig, ImageData
from ..hub import from_pretrained
from ..hub.files import CONFIG, WEIGHTS, read_saved
from ..models import NetworkConfig
from ..networks import form_of
from ..networks.given import Given, given_weights
from ..tasks import find_task
from ..training import TrainConfig, load_network
from ..training.config import identity
from ..training.folder import LAST
from ..training.network import build_network, own_checkpoint
from ..training.watch import stops
from .trained import CHECKPOINTS, checkpoint_in

_RUNS = "runs/*-seed*"
#: The folder of a reproduction that has its networks.
COMPARISON = "comparison"
#: Options that tell trainings apart in a name.
_MOST_OPTIONS = 3


@dataclass(frozen=True)
class Target:
    """A trained network by its place, not loaded yet.

    Attributes:
        group: What tables call it and the others that differ in their seed only.
        place: The file, folder or name.
        digest: Hash of its weights: what a result belongs to.
        load: From the data to the network, in evaluation mode, pixels in [0, 1] go in.
        operator: Of its convolutions; empty where it is not known.
        seed: Of its training.
        config: How it was trained; None: not by this package.
        origin: The data that it was trained on, and the version; see `training.folder.origin`.
        history: Its epochs.
        done: How many epochs its run has done, if that is under way; None: it has ended, or nothing is known.
        classes: Names of the classes; None: nothing is known.
        image_size: Height and width that it was trained with; None: not known.
    """

    group: str
    place: str
    digest: str
    load: Callable[[ImageData], nn.Module] = field(compare=False)
    operator: str = ""
    seed: int | None = None
    config: TrainConfig | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    done: int | None = None
    classes: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.group if self.seed is None else f"{self.group}, seed {self.seed}"

    @property
    def training(self) -> dict[str, Any] | None:
        """The options that its training depended on, but for the seed; None: not known."""
        if self.config is None:
            return None
        own = {name: value for name, value in identity(self.config).items() if name != "seed"}
        return {**own, "images": self.origin.get("digest")}

    @property
    def unfinished(self) -> str | None:
        """What has to be said of a run that has not come to its end; None: it has, or nothing is known."""
        if self.config is None or self.done is None:
            return None
        epochs = f"{self.done} of {self.config.optim.epochs} epochs are done"
        chosen = f", and {Path(self.place).name} is of epoch {len(self.history)}"
        which = "" if len(self.history) == self.done else chosen
        return f"the training of {self.label} has not ended: {epochs}{which}"

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
        then, said = self.origin.get("digest"), [self.unfinished] if self.unfinished else []
        if self.image_size is not None and tuple(self.image_size) != tuple(data.image_size):
            own, given = ("×".join(map(str, size)) for size in (self.image_size, data.image_size))
            said.append(f"{self.label} was trained on images of {own} pixels, and gets {given} here")
        if then and then != data.digest:
            said.append(
                f"{self.label} was trained on other images than those of {data.name}: it may have seen"
                " some of these test images in its training"
            )
        if not then:
            said.append(f"{self.label} does not say which images it was trained on")
        return said


def _some(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:4])}{', …' if len(classes) > 4 else ''})"


def find_targets(places: Sequence[str]) -> list[Target]:
    """The networks at these places, in their order.

    Networks belong together if their trainings had the same options, but for the seed, and the same images.

    Args:
        places: each a checkpoint, the folder of a training run (its best epoch), of a comparison or a
            reproduction (all its networks as they are now, or of the chosen epoch where a run kept that) or
            of ``save_pretrained``, or a network of a library by its name: ``timm:resnet18`` with the
            library's weights, ``timm:resnet18@FILE`` with a file's.
            Operators of a plugin have to be registered before.

    Raises:
        FileNotFoundError: there is nothing there.
        ValueError: what is there is no classifier of ours, or it is named twice.
    """
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
        if (path / COMPARISON / "config.yaml").is_file():  # of a table of a paper
            path = path / COMPARISON
        if (path / CONFIG).is_file() and (path / WEIGHTS).is_file():
            return [_saved(path)]
        if runs := sorted(filter(_is_kept, path.glob(_RUNS)), key=_by_seed):
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


def _is_kept(run: Path) -> bool:
    return any((run / name).is_file() for name in CHECKPOINTS)


def _by_seed(run: Path) -> tuple[str, int]:
    name, _, seed = run.name.rpartition("-seed")
    return name, int(seed) if seed.isdigit() else 0


def _comparison(folder: Path, runs: list[Path]) -> list[Target]:
    """All networks of a comparison, by its operators' order and then by seed."""
    # Where the epoch was chosen, as in adversarial training, it is the chosen one.
    found = [_checkpoint(checkpoint_in(run)) for run in runs]
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
    attacked = str(config.adversarial)
    history = checkpoint.get("history", [])
    height, width = own["image_size"]
    return Target(
        f"{config.operator} ({attacked})" if attacked else config.operator, str(path), _digest(path),
        lambda data: load_network(path), config.operator, config.machine.seed, config,
        {n: own[n] for n in ("version", "digest", "found") if n in own}, history,
        _under_way(path, history, config.optim.epochs), tuple(own["classes"]), (height, width),
    )  # fmt: skip


def _under_way(path: Path, history: list[dict[str, Any]], epochs: int) -> int | None:
    """How many epochs the run of a checkpoint has done; None: it has ended, or its last one is gone."""
    last = path.parent / LAST
    if path.name in CHECKPOINTS and path.name != LAST:  # of an epoch that was chosen: its run may go on
        if not last.is_file():
            return None
        history = own_checkpoint(last).get("history", [])
    return None if len(history) >= epochs or stops(history) else len(history)


def _saved(folder: Path) -> Target:
    config, _ = read_saved(folder)
    names = config.get("classes") or None
    return Target(
        folder.resolve().name, str(folder), _digest(folder / WEIGHTS, folder / CONFIG),
        lambda data: from_pretrained(folder), classes=tuple(names) if names else None,
    )  # fmt: skip


def _library(model: str, weights: str | None) -> Target:
    config = NetworkConfig(model=model, weights=weights, pretrained=weights is None)
    if weights and not Path(weights).is_file():
        raise FileNotFoundError(f"weights {weights} received for {model}; needed: a file that is there")
    digest = f"{model} {_digest(Path(weights)) if weights else 'pretrained'}"
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


def _digest(*paths: Path) -> str:
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return " ".join(digests)


def _told_apart(found: list[Target]) -> list[Target]:
    """Groups that differ get names that differ: by the options of their trainings, else by their places."""
    groups: dict[str, list[list[Target]]] = {}
    for target in found:
        alike = groups.setdefault(target.group, [])
        own = next((one for one in alike if _together(one, target)), None)
        if own is None:
            alike.append([target])
        else:
            own.append(target)
    names = {
        id(target): name
        for base, alike in groups.items()
        for one, name in zip(alike, _names(base, alike), strict=True)
        for target in one
    }
    return [dataclasses.replace(target, group=names[id(target)]) for target in found]


def _together(group: list[Target], target: Target) -> bool:
    """Whether a network is another seed of the same training."""
    first = group[0]
    return (
        target.training is not None
        and target.training == first.training
        and target.seed not in [one.seed for one in group]
    )


def _names(base: str, alike: list[list[Target]]) -> list[str]:
    if len(alike) == 1:
        return [base]
    trainings = [group[0].training or {} for group in alike]
    differing = [
        name
        for name in dict.fromkeys(n for t in trainings for n in t)
        if len({repr(t.get(name)) for t in trainings}) > 1 and name not in ("images", "operator")
    ]
    said = [
        ", ".join(f"{name.replace('_', ' ')} {training.get(name)}" for name in differing[:_MOST_OPTIONS])
        for training in trainings
    ]
    if not all(said) or len(set(said)) < len(said):
        said = [group[0].place for group in alike]
    return [f"{base} ({one})" for one in said]


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
