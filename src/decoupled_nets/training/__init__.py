"""Training on pytorch-lightning: a task, callbacks, and runs that can be interrupted."""

from .callbacks import LastCheckpoint, WeightProjection
from .checkpoint import AtomicCheckpointIO, load_checkpoint
from .config import MachineConfig, NetworkConfig, OptimConfig, TrainConfig
from .run import build_network, fit, load_config, load_network, train
from .task import ClassificationTask

__all__ = [
    "AtomicCheckpointIO",
    "ClassificationTask",
    "LastCheckpoint",
    "MachineConfig",
    "NetworkConfig",
    "OptimConfig",
    "TrainConfig",
    "WeightProjection",
    "build_network",
    "fit",
    "load_checkpoint",
    "load_config",
    "load_network",
    "train",
]
