"""What the user says about the training of a network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from .._options import Flat, defaults, flat
from ..data import DataConfig
from ..models import NetworkConfig
from ..models.ddf_resnet import VARIANTS
from ..models.layers import PLAIN, is_decoupled
from ..networks import fitted
from ..tasks import DEFAULT, find_task


@dataclass(frozen=True)
class OptimConfig:
    """The optimisation.

    Args:
        epochs: Passes over the training images.
        batch_size: Images in a step, of all processes together.
        optimizer: Update rule.
        lr: Learning rate after the warm-up.
        schedule: `cosine` to zero, `step` (divided by 10 at 53 % and 84 % of the steps) or `constant`.
        warmup: Fraction of the steps in which the learning rate rises from zero.
        weight_decay: Decay of plain kernels and classifiers; radii, vectors and decoupled kernels have none.
        label_smoothing: Of the cross-entropy loss.
        project_every: Reset decoupled kernels to unit norm every so many steps; 0 never.
        weighted_gradients: Multiply the gradient of every decoupled kernel by its norm.
        orthogonality: Factor of the orthogonality penalty on decoupled kernels.

    Raises:
        ValueError: a number is out of range.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-3
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    project_every: int = 0
    weighted_gradients: bool = False
    orthogonality: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("project_every", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: at least {least}")
        if not self.lr > 0:
            raise ValueError(f"lr = {self.lr} received; needed: a positive number")
        for name in ("weight_decay", "orthogonality"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: at least 0")
        for name in ("warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: a number in [0, 1)")


@dataclass(frozen=True)
class MachineConfig:
    """What the training runs on; pytorch-lightning's own terms.

    Args:
        seed: Seed of the weights, the order of the images and their augmentation.
        accelerator: `auto`, `cpu`, `gpu`, `mps`, ...
        devices: Processes (one a device) on each machine.
        num_nodes: Machines.
        strategy: `auto`, `ddp`, ...
        precision: `32-true`, `bf16-mixed`, `16-mixed`, `64-true`, ...
        sync_batchnorm: Let BatchNorm see the batch of all processes (not on CPUs).
        checkpoint_minutes: Also save within an epoch, once so many minutes have passed.
    """

    seed: int = 0
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    sync_batchnorm: bool = False
    checkpoint_minutes: float = 10.0


@dataclass(frozen=True)
class TrainConfig(Flat):
    """One training run.

    Args:
        task: What the network learns: `classify` (a label an image) or another task.
        data: The images.
        network: The network.
        optim: The optimisation.
        machine: What it runs on.
        operator: `conv` for plain convolution, a decoupled operator such as `tanh-cos` or, in residual
            networks, `ddf`, a variant of it or `dw`. Without it `ddf` in the networks named after it, else
            `tanh-cos`.

    Raises:
        ValueError: there is no such task, or a number is out of range.
    """

    task: str = DEFAULT
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
    operator: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", named(self.network, self.task))
        if not self.operator:
            operator = "ddf" if self.network.model in VARIANTS else "tanh-cos"
            object.__setattr__(self, "operator", operator)
        processes = self.machine.devices * self.machine.num_nodes
        if self.optim.batch_size % processes:
            raise ValueError(
                f"batch_size = {self.optim.batch_size} received for {processes} processes;"
                f" needed: a multiple of {processes}"
            )
        if self.data.download and processes > 1:
            raise ValueError(
                f"download = True received for {processes} processes; needed: one process;"
                " download first, then train with all"
            )

    @property
    def ignored(self) -> list[str]:
        """Settings that only decoupled operators have, if the operator is another and they were changed."""
        if is_decoupled(self.operator):
            return []
        names = ["radius", "weighting", "project_every", "weighted_gradients", "orthogonality"]
        names += ["select", "start"] if self.operator == PLAIN else []
        usual, own = defaults(TrainConfig), self.flat()
        return [name for name in names if own[name] != usual[name]]


def named(network: NetworkConfig, task: str, width: float = 1.0) -> NetworkConfig:
    """The network with a name, its own options checked: where none is given, that of the task.

    Args:
        network: as the user says.
        task: names the task.
        width: the command's default of that option.

    Raises:
        ValueError: there is no such task, or the network does not have an option that was changed.
    """
    kind = find_task(task)
    return fitted(network if network.model else dataclasses.replace(network, model=kind.model), width)


#: What a run may change between interruption and resumption: where and how it computes, not what.
CIRCUMSTANCES = frozenset(
    {"accelerator", "devices", "num_nodes", "strategy", "checkpoint_minutes", "workers", "memory", "download",
     "data_root", "engine", "jobs", "threads", "gpus_per_job", "slurm"}
)  # fmt: skip


#: Where the data and the weights lie: what is compared are their digests.
_PLACE = frozenset({"data", "weights"})


def identity(config: Any) -> dict[str, Any]:
    """The fields of a configuration that a result depends on."""
    return {name: value for name, value in flat(config).items() if name not in CIRCUMSTANCES}


def differences(config: Any, saved: dict[str, Any], ignoring: tuple[str, ...] = ()) -> list[str]:
    """Fields a result depends on in which a configuration differs from a saved one, as texts."""

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value  # YAML has no tuples

    return [
        f"{name}: {value!r} now, {saved[name]!r} then"
        for name, value in identity(config).items()
        if name in saved and name not in {*_PLACE, *ignoring} and plain(saved[name]) != plain(value)
    ]
