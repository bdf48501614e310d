"""What the user says about an attack on trained networks."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from .._options import Flat, defaults, words_of
from ..data import DataConfig
from ..robustness import Threat
from ..robustness.suites import suite_named
from ..robustness.victim import BATCH_SIZE


@dataclass(frozen=True)
class AttackConfig(Flat):
    """An attack on trained networks.

    Args:
        data: The images; without `data` those that the first network was trained on.
        threat: Norm and radius, in pixels in [0, 1]: `linf:8/255`, `l2:0.5`.
        suite: `quick` (a first look), `standard` (AutoAttack's four attacks at its budgets), `deep` (more
            losses, restarts, float64, surrogate gradients), `paper` (what the paper names, far too weak), or
            names of attacks separated by commas, each on all images.
        images: Test images that are attacked, as many of each class; 0 all of them.
        sweep: Also find the smallest change of every image, for the accuracy at every radius.
        transfer: Also attack every network with images made on each of the others, and on all of them
            together.
        batch_size: Images that a network sees at once.
        seed: Seed of the attacks' random numbers.
        accelerator: `auto`, `cpu` or `gpu`.
        plugin: Python file or module that registers operators or makes the network; imported first.

    Raises:
        ValueError: there is no such threat, suite or accelerator, or a number is out of range.
    """

    data: DataConfig = field(default_factory=DataConfig)
    threat: str = "linf:8/255"
    suite: str = "standard"
    images: int = 500
    sweep: bool = False
    transfer: bool = False
    batch_size: int = BATCH_SIZE
    seed: int = 0
    accelerator: str = "auto"
    plugin: str | None = None

    def __post_init__(self) -> None:
        suite_named(self.suite).for_threat(Threat.parse(self.threat))
        for name, least in (("images", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: at least {least}")
        if self.accelerator not in ("auto", "cpu", "gpu"):
            raise ValueError(f"accelerator = {self.accelerator!r} received; needed: auto, cpu or gpu")

    def command(self, places: Sequence[str]) -> str:
        """The command line: options that are not the defaults, and the data, which the others refer to."""
        own = words_of(self.flat(), defaults(AttackConfig), always=("data",))
        return shlex.join(["decoupled", "attack", *places, *own])

    def identity(self) -> dict[str, object]:
        """What changes the results; the number of images at once and the device only their last digits."""
        own = {name: value for name, value in self.flat().items() if name in _OWN}
        return {**own, "threat": Threat.parse(self.threat).spelled}


_OWN = ("threat", "suite", "images", "sweep", "transfer", "seed")
