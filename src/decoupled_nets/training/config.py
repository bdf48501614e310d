"""What the user says about the training of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .._options import Flat, defaults, flat, from_flat
from ..data import DataConfig
from ..models import NetworkConfig
from ..models.ddf_resnet import VARIANTS
from ..models.layers import PLAIN, is_decoupled
from ..networks import fitted
from ..nn.dynamic import takes_squeeze_ratio
from ..ops.decoupled.operator import resolve_operator
from ..tasks import DEFAULT, find_task, tasks
from .adversarial_config import HALF, AdversarialConfig, check_machine_for
from .optim_config import OptimConfig


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
        channels_last: Keep images and kernels with their channels last, which GPUs prefer in half precision.
        compile: Compile the network by torch.compile.
        sync_batchnorm: Let BatchNorm see the batch of all processes (not on CPUs).
        checkpoint_minutes: Also save within an epoch, once so many minutes have passed.
    """

    seed: int = 0
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    channels_last: bool = False
    compile: bool = False
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
        adversarial: Attacks on the images that the network learns from.
        machine: What it runs on.
        recipe: Name of a recipe, whose options take the place of the defaults; an option that is given goes
            before it.
        operator: `conv` for plain convolution, a decoupled operator such as `tanh-cos`, a learned one with
            options such as `spline-spline@ball-cos+monotone+groups=2` or, in residual networks, `ddf`, a
            variant of it or `dw`. Without it `ddf` in the networks named after it, else `tanh-cos`.

    Raises:
        ValueError: there is no such task, or a number is out of range.
    """

    task: str = DEFAULT
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
    recipe: str | None = None
    operator: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", named(self.network, self.task))
        check_taken(self)
        check_machine_for(self.adversarial, self.machine)
        if not self.operator:
            object.__setattr__(self, "operator", usual_operator(self.network.model))
        check_squeeze_ratio(self.network.squeeze_ratio, [self.operator])
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
        """Settings that were changed and that the operator, optimizer or schedule ignores, in words."""
        own = self._unused_by_operator()
        words = [f"{self.operator} ignores {', '.join(own)}"] if own else []
        return [*words, *self.optim.ignored, *self.adversarial.ignored]

    def _unused_by_operator(self) -> list[str]:
        """Settings that only decoupled operators have, if the operator is another and they were changed."""
        usual, own = defaults(TrainConfig), self.flat()
        if is_decoupled(self.operator):
            operator = resolve_operator(self.operator)
            learns = operator.uses_radius or operator.learns_k or operator.learned != (None, None)
            unused = {"total_variation": not operator.learns_slopes, "operator_lr": not learns}
            return [name for name, is_one in unused.items() if is_one and own[name] != usual[name]]
        names = ["radius", "weighting", "project_every", "weighted_gradients", "orthogonality",
                 "operator_lr", "total_variation"]  # fmt: skip
        names += ["select", "start"] if self.operator == PLAIN else []
        return [name for name in names if own[name] != usual[name]]


def usual_operator(model: str) -> str:
    """The operator of a network where none is given."""
    return "ddf" if model in VARIANTS else "tanh-cos"


def check_squeeze_ratio(ratio: float | None, operators: Sequence[str]) -> None:
    """Refuse a squeeze ratio where nothing has a channel branch.

    Raises:
        ValueError: it was given, and none of the operators has one.
    """
    if ratio is not None and not any(map(takes_squeeze_ratio, operators)):
        raise ValueError(
            f"squeeze_ratio = {ratio} received for {', '.join(operators)}; needed: dynamic filters that have"
            " a channel branch, such as ddf"
        )


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


def check_taken(config: Any) -> None:
    """Refuse options of a configuration that its task does not take.

    Raises:
        ValueError: there is one that was changed, or weights in half precision for a task that wants more.
    """
    own, usual = flat(config), defaults(type(config))
    taking = {name: [task for task, kind in tasks().items() if name in kind.takes] for name in own}
    for name, some in taking.items():
        if some and config.task not in some and own[name] != usual[name]:
            raise ValueError(
                f"{name} = {own[name]} received for the task {config.task}; needed: {usual[name]}, which"
                f" only {' and '.join(some)} can change"
            )
    if own["precision"] in HALF and not find_task(config.task).half:
        raise ValueError(
            f"precision = {own['precision']} received for the task {config.task}; needed: 32-true or"
            " bf16-mixed, as half precision is too coarse for its outputs"
        )


#: What a run may change between interruption and resumption: where and how it computes, not what; and the
#: name of a recipe, whose options are compared themselves.
CIRCUMSTANCES = frozenset(
    {"accelerator", "devices", "num_nodes", "strategy", "checkpoint_minutes", "workers", "memory", "download",
     "data_root", "engine", "jobs", "threads", "gpus_per_job", "slurm", "recipe"}
)  # fmt: skip


#: Where the data and the weights lie: what is compared are their digests.
_PLACE = frozenset({"data", "weights"})


def identity(config: Any) -> dict[str, Any]:
    """The fields of a configuration that a result depends on."""
    return {name: value for name, value in flat(config).items() if name not in CIRCUMSTANCES}


def differences(config: Any, saved: dict[str, Any], ignoring: tuple[str, ...] = ()) -> list[str]:
    """Fields a result depends on in which a configuration differs from a saved one, as texts.

    A saved configuration that lacks a field is from before there was such an option: it had the default.
    """

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value  # YAML has no tuples

    found, then = [], {**_before(config, saved), **saved}
    for name, value in identity(config).items():
        if name in then and name not in {*_PLACE, *ignoring} and plain(then[name]) != plain(value):
            found.append(f"{name}: {value!r} now, {then[name]!r} then")
    return found


def _before(config: Any, saved: dict[str, Any]) -> dict[str, Any]:
    """What options that came later were before there was a choice: their defaults, beside the others."""
    own, usual = flat(config), defaults(type(config))
    later = {name: usual[name] for name in own if name in usual and name not in saved}
    if all(own[name] == value for name, value in later.items()):
        return later
    try:
        beside = from_flat(type(config), {**own, **later}).flat()  # some are filled in by the task
    except ValueError:  # what is given now does not go together with them
        return later
    return {name: beside[name] for name in later}
