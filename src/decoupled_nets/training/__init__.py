"""Training on pytorch-lightning: a module for any task, callbacks, and runs that can be interrupted."""

from .._code import import_code
from ..models import NetworkConfig
from .adversarial_config import AdversarialConfig
from .callbacks import LastCheckpoint, WeightProjection
from .checkpoint import AtomicCheckpointIO, load_checkpoint
from .config import MachineConfig, TrainConfig
from .module import TaskModule
from .network import build_network, load_config, load_network
from .optim_config import OptimConfig
from .run import train
from .trainer import fit

__all__ = [
    "AdversarialConfig",
    "AtomicCheckpointIO",
    "LastCheckpoint",
    "MachineConfig",
    "NetworkConfig",
    "OptimConfig",
    "TaskModule",
    "TrainConfig",
    "WeightProjection",
    "build_network",
    "fit",
    "import_code",
    "load_checkpoint",
    "load_config",
    "load_network",
    "train",
]
