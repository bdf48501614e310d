"""How a run's network starts: its weights, its conversion, its calibration; and what is said of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..calibration import Calibration, calibrate
from ..data import ImageData
from ..models import NetworkConfig, PixelNetwork
from ..models.layers import PLAIN, is_decoupled, same_operator
from ..networks import Given, channels_of, form_of, given_weights, saved_recipe
from ..tasks import Task
from .config import TrainConfig
from .folder import LAST
from .network import build_network, normalisation, own_checkpoint
from .step import root_device

#: Calibration takes so many training images at most.
_IMAGES = 512
_BATCH = 64


@dataclass(frozen=True)
class Begun:
    """A network that is ready to be trained.

    Attributes:
        network: It takes pixels in [0, 1].
        channels: That it takes behind its normalisation.
        start: How it started, as plain values: ``weights`` (what was loaded and what not, and a hash of what
            was given), ``converted`` and ``left`` (how many layers), ``how``, ``calibration`` (agreement of
            labels and distance of outputs from the plain network's, before and after), ``normalisation`` and
            ``notes``.
        recipe: Of a saved network, or of a library's detector.
        text: The same for the eye; "" where there is nothing to say.
    """

    network: PixelNetwork
    channels: int
    start: dict[str, Any]
    recipe: dict[str, Any] | None = None
    text: str = ""

    @property
    def noted(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        mean, std = (getattr(self.network.normalize, name).flatten().tolist() for name in ("mean", "std"))
        known = {} if self.recipe is None else {"recipe": self.recipe}
        norm = {"mean": mean, "std": std}
        return {"start": self.start, "normalize": norm, "channels": self.channels, **known}


def begin(
    task: Task, config: TrainConfig, data: ImageData, folder: Path | None = None, **options: Any
) -> Begun:
    """Build the network of a run as it starts; in the folder of a run that is under way, only its structure.

    Nothing is fetched: :func:`decoupled_nets.networks.fetch` does that. The random numbers drawn before the
    conversion are the same for every operator.

    Args:
        task: what it is to learn.
        config: the run's.
        data: its images.
        folder: of the run, whose ``last.ckpt`` has all that training changed.
        **options: further ones of the network.

    Raises:
        FileNotFoundError: the file of the weights is gone.
        ValueError: the network cannot be built, or its weights cannot be had or do not fit.
    """
    if folder is not None and (folder / LAST).is_file():
        return _under_way(task, config, data, folder / LAST, options)
    given = Given(given_weights(config.network))
    recipe = saved_recipe(config.network)
    network = build_network(
        task, config.network, config.operator, data, given=given, recipe=recipe, **options
    )
    start = _Start(config, given)
    start.tell_of_another_operator()
    start.tell_of_what_is_as_saved()
    if start.calibrates():
        start.calibration = _calibrated(network, config, data)
    channels = channels_of(config.network, data.in_chans, recipe, given.weights)
    mean, std, theirs = normalisation(given.weights, data, channels)
    if theirs:
        start.normalisation = f"that of the weights: mean {_numbers(mean)}, deviation {_numbers(std)}"
    return Begun(network, channels, start.to_dict(), recipe or _as_built(network.network), str(start))


def _as_built(network: Any) -> dict[str, Any] | None:
    """The recipe of a library's detector, whose options may follow from weights; None: another network."""
    recipe = getattr(network, "recipe", None)
    return recipe if isinstance(recipe, dict) and {"source", "detector"} <= set(recipe) else None


def _under_way(
    task: Task, config: TrainConfig, data: ImageData, last: Path, options: dict[str, Any]
) -> Begun:
    own = own_checkpoint(last)["decoupled_nets"]
    rebuilt = {name: own[name] for name in ("recipe", "code", "channels") if name in own}
    network = build_network(task, config.network, config.operator, data, **rebuilt, **options)
    # The values come with the checkpoint; there may be more of them than the images have channels.
    norm = own.get("normalize", {"mean": data.mean, "std": data.std})
    whole = PixelNetwork(network.network, norm["mean"], norm["std"])
    channels = own.get("channels", data.in_chans)
    return Begun(whole, channels, own.get("start", {}), own.get("recipe"))


@dataclass
class _Start:
    """What is to be said of a start."""

    config: TrainConfig
    given: Given
    calibration: Calibration | None = None
    normalisation: str = "that of the training images"
    notes: list[str] = field(default_factory=list)

    def tell_of_another_operator(self) -> None:
        """Say what weights that were trained with another decoupled operator are worth here."""
        there = None if self.given.weights is None else self.given.weights.operator
        if there not in (None, PLAIN) and not same_operator(self.config.operator, there):
            self.notes.append(
                f"the weights are of a network with {there}: its kernels are taken over, its response is not"
            )

    def tell_of_what_is_as_saved(self) -> None:
        """Say that layers of a saved network are not converted once more, whatever options say."""
        if not self.given.as_saved:
            return
        own, usual = self.config.network, NetworkConfig()
        names = [n for n in ("radius", "weighting", "select") if getattr(own, n) != getattr(usual, n)]
        without = f"; {', '.join(names)} without use" if names else ""
        self.notes.append(
            f"the layers are {self.config.operator} already and stay as they were saved{without}"
        )

    def calibrates(self) -> bool:
        """Whether there is something to calibrate and it is wished; else a note says why not."""
        wished = self.config.network.start
        if wished == "converted" or (wished is None and self.given.weights is None):
            return False
        if not is_decoupled(self.config.operator):
            if self.config.operator != PLAIN and self.given.conversion is not None:
                self.notes.append(
                    f"{self.config.operator} has no plain counterpart to be calibrated to: where it stands,"
                    " the weights are new"
                )
            return False
        if self.given.own_operator:
            self.notes.append("the weights are of a network with this operator: nothing to calibrate")
            return False
        return True

    @property
    def how(self) -> str:
        """The start in one word or two."""
        if self.calibration is not None:
            return "calibrated"
        return "converted" if self.given.conversion is not None else "as built"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        loaded, conversion, done = self.given.loaded, self.given.conversion, self.calibration
        plain: dict[str, Any] = {"how": self.how, "normalisation": self.normalisation, "notes": self.notes}
        if loaded is not None:
            assert self.given.weights is not None
            plain["weights"] = {**loaded.to_dict(), "digest": self.given.weights.digest()}
        if conversion is not None:
            plain["converted"], plain["left"] = len(conversion.converted), len(conversion.left)
        if (calls := self.given.upsampling) is not None:
            plain["upsampling"] = {"converted": len(calls.converted), "left": len(calls.left)}
        if done is not None:
            plain["calibration"] = {
                name: {"agreement": one.agreement, "error": one.error}
                for name, one in (("before", done.before), ("after", done.after))
            }
        return plain

    def __str__(self) -> str:
        """A few lines, or none where a network of ours starts from new weights."""
        conversion, done = self.given.conversion, self.calibration
        own = form_of(self.config.network.model) == "own"
        upsampling = self.given.upsampling
        if own and self.given.loaded is None and done is None and upsampling is None:
            return ""
        lines = [f"Network       {self.config.network.model}, {self.config.operator}"]
        if self.given.loaded is not None:
            lines.append(str(self.given.loaded))
        if conversion is not None:
            lines.append(
                f"Converted     {len(conversion.converted)} layers, {len(conversion.left)} left as they are"
            )
        if upsampling is not None:
            lines.append(
                f"Upsampling    {len(upsampling.converted)} calls by {self.config.network.upsample},"
                f" {len(upsampling.left)} left as they are"
            )
        if done is not None:
            outputs = done.why_not or f"{done.before} before, {done.after} after"
            lines.append(f"Calibrated    {len(done.layers)} layers; beside the plain network: {outputs}")
        lines.append(f"Normalised    by {self.normalisation}")
        return "\n".join([*lines, *(f"Note          {note}" for note in self.notes)])


def _calibrated(network: PixelNetwork, config: TrainConfig, data: ImageData) -> Calibration:
    """Calibrate on the first training images of the run, as it sees them, on the device that it trains on."""
    device = root_device(config.machine)
    network.to(device)
    batches = list(_batches(data, config))
    done = calibrate(network, batches, max_batches=len(batches))
    network.to("cpu")
    return done


def _batches(data: ImageData, config: TrainConfig) -> Iterator[Tensor]:
    size = min(config.optim.batch_size, _BATCH)
    loader = data.train_loader(size, config.machine.seed)
    yield from (images for images, _ in itertools.islice(loader, max(1, _IMAGES // size)))


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
