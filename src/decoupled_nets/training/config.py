"""What the user says about the network and its training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ..data import DataConfig
from ..models.ddf_resnet import VARIANTS
from ..models.layers import is_decoupled
from ..ops.decoupled.operator import Weighting

T = TypeVar("T")


@dataclass(frozen=True)
class NetworkConfig:
    """The network, but for its operator.

    Args:
        model: Name of the network.
        width: Multiplies the network's channel counts.
        batch_norm: BatchNorm after the convolutions.
        relu: ReLU after the convolutions.
        radius: Radius of decoupled convolutions: `relative` (learned, in units of the mean patch norm),
            `learned` (absolute) or a number.
        weighting: How the norm of a kernel counts: not at all, `linear`, `product` (Eq. 15), `separate` (16).
        plugin: Python file or module that registers operators; imported first.
    """

    model: str = "cnn9"
    width: float = 1.0
    batch_norm: bool = True
    relu: bool = True
    radius: float | Literal["relative", "learned"] = "relative"
    weighting: Weighting | None = None
    plugin: str | None = None

    def network_arguments(self) -> dict[str, Any]:
        """The options of the network's builder."""
        names = ("width", "batch_norm", "relu", "radius", "weighting")
        return {name: getattr(self, name) for name in names}


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
class TrainConfig(MachineConfig, OptimConfig, NetworkConfig, DataConfig):
    """One training run.

    Args:
        operator: `conv` for plain convolution, a decoupled operator such as `tanh-cos` or, in residual
            networks, `ddf`, a variant of it or `dw`. Without it `ddf` in the networks named after it, else
            `tanh-cos`.
    """

    operator: str = ""

    def __post_init__(self) -> None:
        if not self.operator:
            object.__setattr__(self, "operator", "ddf" if self.model in VARIANTS else "tanh-cos")
        DataConfig.__post_init__(self)
        OptimConfig.__post_init__(self)
        processes = self.devices * self.num_nodes
        if self.batch_size % processes:
            raise ValueError(
                f"batch_size = {self.batch_size} received for {processes} processes; needed: a multiple"
            )
        if self.download and processes > 1:
            raise ValueError(
                f"download with {processes} processes received; needed: one; download with one, train "
                "with all"
            )

    @property
    def ignored(self) -> list[str]:
        """Settings that only decoupled operators have, if the operator is another and they were changed."""
        if is_decoupled(self.operator):
            return []
        names = ("radius", "weighting", "project_every", "weighted_gradients", "orthogonality")
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        return [name for name in names if getattr(self, name) != defaults[name]]


def part(config: Any, kind: type[T]) -> T:
    """The fields of a larger configuration that make a smaller one."""
    return kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(kind)})  # type: ignore[arg-type]


#: What a run may change between interruption and resumption: where and how it computes, not what.
CIRCUMSTANCES = frozenset(
    {"accelerator", "devices", "num_nodes", "strategy", "checkpoint_minutes", "workers", "memory", "download",
     "data_root"}
)  # fmt: skip


#: Where the data lies: what is compared is its digest.
_PLACE = frozenset({"data"})


def identity(config: Any) -> dict[str, Any]:
    """The fields of a configuration that a result depends on."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in CIRCUMSTANCES}


def differences(config: Any, saved: dict[str, Any], ignoring: tuple[str, ...] = ()) -> list[str]:
    """Fields a result depends on in which a configuration differs from a saved one, as texts."""

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value  # YAML has no tuples

    return [
        f"{name}: {value!r} now, {saved[name]!r} then"
        for name, value in identity(config).items()
        if name in saved and name not in {*_PLACE, *ignoring} and plain(saved[name]) != plain(value)
    ]
