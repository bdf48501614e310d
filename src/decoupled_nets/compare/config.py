"""What the user says about a comparison."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from typing import Any

from ..data import DataConfig
from ..models.layers import is_decoupled
from ..training import MachineConfig, NetworkConfig, OptimConfig, TrainConfig


@dataclass(frozen=True)
class CompareConfig(MachineConfig, OptimConfig, NetworkConfig, DataConfig):
    """A comparison of operators.

    Args:
        operators: Names separated by commas, the baseline first; `conv` is plain convolution. Residual
            networks (`--model ddf_cifar_resnet26`) also take `dw` (depth-wise), `ddf` and its variants
            `ddf-add`, `ddf-spatial`, `ddf-channel`, `ddf-paper`, `ddf-batch`, `ddf-sigmoid`.
        seeds: Runs of each operator, with the seeds `seed`, `seed + 1`, ...
        attack_radius: Largest change of a pixel (of [0, 1]) by the two quick attacks.
        attack_images: Test images that are attacked; 0 none. Two quick attacks say nothing of robustness.
        feature_epochs: Epochs of the network with two-dimensional features; 0 leaves the picture out.

    Raises:
        ValueError: an operator is unknown or named twice, or a number is out of range.
    """

    # A comparison is many runs: its defaults make them small enough for two processor cores.
    width: float = 0.125
    epochs: int = 3
    lr: float = 3e-3
    operators: str = "conv,tanh-cos,ball-cos,seg-sqcos"
    seeds: int = 1
    attack_radius: float = 8 / 255
    attack_images: int = 0
    feature_epochs: int = 2

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        OptimConfig.__post_init__(self)
        names = self.names
        for name in names:
            is_decoupled(name)  # refuses what is no operator's name
        if len(set(names)) != len(names):
            raise ValueError(f"operators {self.operators!r} received; needed: each once")
        for field, least in (("seeds", 1), ("attack_images", 0), ("feature_epochs", 0)):
            if getattr(self, field) < least:
                raise ValueError(f"{field} = {getattr(self, field)} received; needed: at least {least}")
        if not 0 <= self.attack_radius <= 1:
            raise ValueError(f"attack_radius = {self.attack_radius} received; needed: a number in [0, 1]")
        if self.devices * self.num_nodes != 1:
            raise ValueError(
                f"devices = {self.devices} and num_nodes = {self.num_nodes} received; needed: 1 and 1, "
                "as a comparison runs in one process"
            )

    @property
    def names(self) -> list[str]:
        """The operators' names, in the order given."""
        return [name.strip() for name in self.operators.split(",")]

    @property
    def all_seeds(self) -> list[int]:
        """The seeds of the runs of each operator."""
        return [self.seed + i for i in range(self.seeds)]

    @property
    def command(self) -> str:
        """The command line of this comparison: the options that are not the defaults."""
        words = ["decoupled", "compare"]
        for f in dataclasses.fields(self):
            name, value = f.name.replace("_", "-"), getattr(self, f.name)
            if value == f.default:
                continue
            if isinstance(value, bool):
                words.append(f"--{name}" if value else f"--no-{name}")
            else:
                words += [f"--{name}", str(value)]
        return shlex.join(words)

    def run(self, operator: str, seed: int, **changes: Any) -> TrainConfig:
        """The configuration of one training run."""
        shared: dict[str, Any] = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(TrainConfig) if f.name != "operator"
        }
        return TrainConfig(**{**shared, "operator": operator, "seed": seed, **changes})
