"""One training run, from a configuration to a folder of results."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from lightning_fabric.utilities.rank_zero import rank_zero_only
from lightning_fabric.utilities.warnings import PossibleUserWarning
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from .._files import remove_leftovers, write_text
from .._progress import Progress
from ..data import ImageData, load_data
from ..models import Normalize, create_model
from .callbacks import LastCheckpoint, StepProgress, WeightProjection
from .checkpoint import AtomicCheckpointIO, load_checkpoint
from .config import MachineConfig, NetworkConfig, OptimConfig, TrainConfig, differences, part
from .task import ClassificationTask

LAST = "last.ckpt"


class Images(pl.LightningDataModule):
    """Gives each process its part of every batch.

    Args:
        data: the images.
        batch_size: of all processes together.
        seed: of order and augmentation.
    """

    def __init__(self, data: ImageData, batch_size: int, seed: int) -> None:
        super().__init__()
        self.data = data
        self.batch_size = batch_size
        self.seed = seed

    def _processes(self) -> dict[str, int]:
        assert self.trainer is not None
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def train_dataloader(self) -> Any:
        """Shuffled, augmented batches."""
        return self.data.train_loader(self.batch_size, self.seed, **self._processes())

    def val_dataloader(self) -> Any:
        """The test images, in order."""
        processes = self._processes()
        share = -(-max(self.batch_size, 256) // processes["world_size"])
        return self.data.test_loader(share * processes["world_size"], **processes)


def build_network(config: NetworkConfig, operator: str, data: ImageData, **options: Any) -> nn.Module:
    """Normalisation and the configured network with one operator; pixels in [0, 1] go in.

    Raises:
        ValueError: the model or the operator is unknown, or an option is out of range.
    """
    network = create_model(
        config.model,
        num_classes=len(data.classes),
        in_chans=data.in_chans,
        operator=operator,
        **{**config.network_arguments(), **options},
    )
    return normalized(network, data.mean, data.std)


def load_network(path: str | Path) -> nn.Module:
    """The trained network of a checkpoint of ours, in evaluation mode: from pixels in [0, 1] to logits.

    Args:
        path: ``last.ckpt`` or ``best.ckpt``. Operators of a plugin have to be registered before.

    Returns:
        A module from (B, C, H, W) to (B, classes), its normalisation included.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of ours.
    """
    checkpoint = _own_checkpoint(path)
    own, config = checkpoint["decoupled_nets"], _config_of(checkpoint)
    network = create_model(
        config.model, len(own["classes"]), own["in_chans"], operator=config.operator,
        **{**config.network_arguments(), **own["options"]},
    )  # fmt: skip
    whole = normalized(network, [0.0] * own["in_chans"], [1.0] * own["in_chans"])
    prefix = "network."
    state = {k[len(prefix) :]: v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    whole.load_state_dict(state)
    return whole.eval()


def load_config(path: str | Path) -> TrainConfig:
    """The configuration of the run that left a checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of ours.
    """
    return _config_of(_own_checkpoint(path))


def _own_checkpoint(path: str | Path) -> dict[str, Any]:
    checkpoint = load_checkpoint(path)
    if "decoupled_nets" not in checkpoint:
        raise ValueError(f"{path} is a checkpoint, but not one of decoupled train or compare")
    return checkpoint


def _config_of(checkpoint: dict[str, Any]) -> TrainConfig:
    saved = checkpoint["decoupled_nets"]["config"]
    return TrainConfig(**{f.name: saved[f.name] for f in dataclasses.fields(TrainConfig)})


def normalized(network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """A network behind its normalisation."""
    return nn.Sequential(OrderedDict(normalize=Normalize(mean, std), network=network))


@torch.no_grad()
def check_network(network: nn.Module, data: ImageData) -> None:
    """Try the network on one image, before anything is written.

    Raises:
        ValueError: the images do not suit it, too small ones for example.
    """
    network.eval()(data.test_subset(1)[0])
    network.train()


def fit(
    task: ClassificationTask,
    data: ImageData,
    machine: MachineConfig,
    folder: Path,
    progress: Progress,
    label: str,
    *,
    keep_best: bool = True,
    extra: dict[str, Any] | None = None,
) -> ClassificationTask:
    """Train until the last epoch, from ``last.ckpt`` on if `folder` has one.

    Args:
        task: what to train.
        data: the images.
        machine: seed, devices, precision.
        folder: where checkpoints, logs and ``history.csv`` go.
        progress: counts steps.
        label: name of the run.
        keep_best: also keep ``best.ckpt`` and TensorBoard's log.
        extra: plain values put into every checkpoint.

    Returns:
        `task`, trained.

    Raises:
        KeyboardInterrupt: a signal came; the state was saved.
    """
    # What it announces (devices found, tips) is either in our own output or no help.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    config = task.config
    callbacks: list[Callback] = [StepProgress(progress, label)]
    if config.project_every:
        callbacks.append(WeightProjection(config.project_every))
    callbacks.append(_Extra(extra or {}))
    if keep_best:
        callbacks.append(
            ModelCheckpoint(
                folder, "best", monitor="test/accuracy", mode="max",
                enable_version_counter=False, save_on_train_epoch_end=True,
            )
        )  # fmt: skip
    callbacks.append(LastCheckpoint(folder, machine.checkpoint_minutes))
    trainer = pl.Trainer(
        accelerator=machine.accelerator, devices=machine.devices, num_nodes=machine.num_nodes,
        strategy=machine.strategy, precision=machine.precision,  # type: ignore[arg-type]
        sync_batchnorm=machine.sync_batchnorm,
        default_root_dir=folder, max_epochs=config.epochs,
        callbacks=callbacks, plugins=[AtomicCheckpointIO()],
        logger=TensorBoardLogger(folder, name=None, version="tensorboard") if keep_best else False,
        deterministic="warn", num_sanity_val_steps=0, use_distributed_sampler=False,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=10,
    )  # fmt: skip
    last = folder / LAST
    with warnings.catch_warnings():
        # Lightning advises on loaders and logging it does not know, and warns of its own use of torch.
        warnings.filterwarnings("ignore", category=PossibleUserWarning)
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=Warning)
        _run(trainer, task, Images(data, config.batch_size, machine.seed), last if last.exists() else None)
    return task


def _run(trainer: pl.Trainer, task: ClassificationTask, images: Images, last: Path | None) -> None:
    try:
        trainer.fit(task, datamodule=images, ckpt_path=last, weights_only=True)
    except SystemExit as exit_:  # Lightning's answer to an interrupt
        raise KeyboardInterrupt from exit_


class _Extra(Callback):
    """Puts plain values into every checkpoint."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint.update(self.values)


@contextmanager
def claimed(folder: Path, config: Any, *, resume: bool, may_grow: tuple[str, ...] = ()) -> Iterator[None]:
    """:func:`prepare_folder`; if what is inside fails before anything was saved, the folder is free again."""
    prepare_folder(folder, config, resume=resume, may_grow=may_grow)
    try:
        yield
    except Exception:
        if not _is_worker() and not list(folder.rglob(LAST)):
            (folder / "config.yaml").unlink(missing_ok=True)
        raise


def root_device(machine: MachineConfig) -> torch.device:
    """The device that a run of one process trains on."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator=machine.accelerator, devices=1, **quiet).strategy.root_device  # type: ignore[arg-type]


def describe(config: Any, data: ImageData, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a checkpoint says of itself, enough to build its network again."""
    return {
        "decoupled_nets": {
            "config": dataclasses.asdict(config),
            "options": options or {},
            "classes": list(data.classes),
            "in_chans": data.in_chans,
            "image_size": list(data.image_size),
        }
    }


def prepare_folder(folder: Path, config: Any, *, resume: bool, may_grow: tuple[str, ...] = ()) -> None:
    """Make the folder of a run and save its configuration, or check that the run there is the same.

    Only the first of several processes does so.

    Args:
        folder: of the run.
        config: its configuration.
        resume: whether there may be a run already.
        may_grow: fields that may differ from the saved ones.

    Raises:
        FileExistsError: it holds a run already, and `resume` is off.
        ValueError: the run that it holds had another configuration.
    """
    if _is_worker():
        return
    path = folder / "config.yaml"
    remove_leftovers(folder)
    if path.exists():
        if not resume:
            raise FileExistsError(
                f"{folder} holds a run already: add --resume, or name another folder by --out"
            )
        saved = yaml.safe_load(path.read_text(encoding="utf-8"))
        changed = differences(config, saved, may_grow)
        if changed:
            raise ValueError(f"{folder} holds a run with another configuration: {'; '.join(changed)}")
    write_text(path, yaml.safe_dump(dataclasses.asdict(config), sort_keys=False))


def train(
    config: TrainConfig, folder: Path, *, resume: bool = False, quiet: bool = False
) -> ClassificationTask:
    """Train one network and leave config.yaml, last.ckpt, best.ckpt, history.csv and a TensorBoard log.

    Args:
        config: the whole configuration.
        folder: where results go.
        resume: go on with the run that `folder` holds.
        quiet: draw no progress.

    Returns:
        The trained task; its ``history`` is the table of epochs, its ``network`` the module.

    Raises:
        FileExistsError: `folder` holds a run, and `resume` is off.
        ValueError: the configuration or the data is not as it must be.
        KeyboardInterrupt: a signal came; the state was saved, `resume` goes on.
    """
    if config.ignored:
        warnings.warn(f"{config.operator} ignores {', '.join(config.ignored)}", stacklevel=2)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data = load_data(config)
    network = build_network(config, config.operator, data)
    check_network(network, data)
    steps = config.epochs * len(data.train_loader(config.batch_size, config.seed))
    task = ClassificationTask(network, part(config, OptimConfig), steps)
    bar = Progress(steps, config.operator, quiet=quiet or _is_worker())
    with claimed(folder, config, resume=resume), bar as progress:
        return fit(
            task, data, config, folder, progress, f"{config.model} {config.operator}",
            extra=describe(config, data),
        )  # fmt: skip


def _is_worker() -> bool:
    return getattr(rank_zero_only, "rank", 0) != 0
