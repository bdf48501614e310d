"""One training run, from a configuration to a folder of results."""

from __future__ import annotations

import dataclasses
import json
import logging
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.warnings import PossibleUserWarning
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console
from torch import nn

from .._files import write_text
from .._progress import Progress
from ..data import ImageData, load_data
from ..models import Normalize, create_model
from .callbacks import BestCheckpoint, LastCheckpoint, StepProgress, WeightProjection
from .checkpoint import AtomicCheckpointIO, load_checkpoint
from .config import MachineConfig, NetworkConfig, OptimConfig, TrainConfig, part
from .folder import BEST, LAST, TESTED, claimed, is_worker, origin, saved
from .task import ClassificationTask


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
        """The validation images, in order."""
        return self.data.val_loader(self._many(), **self._processes())

    def test_dataloader(self) -> Any:
        """The test images, in order."""
        return self.data.test_loader(self._many(), **self._processes())

    def _many(self) -> int:
        """A batch size without backward pass, which the processes share evenly."""
        processes = self._processes()["world_size"]
        return -(-max(self.batch_size, 256) // processes) * processes


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


def load_origin(path: str | Path) -> dict[str, Any]:
    """The data and the version that a checkpoint of ours belongs to, as :func:`origin` has them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of ours, or one that does not note its data.
    """
    own = _own_checkpoint(path)["decoupled_nets"]
    if "digest" not in own:
        raise ValueError(f"{path} does not note its data: an older version wrote it")
    return {name: own[name] for name in ("version", "digest", "found", "plugin") if name in own}


def _own_checkpoint(path: str | Path) -> dict[str, Any]:
    checkpoint = load_checkpoint(path)
    if "decoupled_nets" not in checkpoint:
        raise ValueError(f"{path} is a checkpoint, but not one of decoupled train or compare")
    return checkpoint


def _config_of(checkpoint: dict[str, Any]) -> TrainConfig:
    saved = checkpoint["decoupled_nets"]["config"]
    # Options that the version which wrote it did not have keep their defaults.
    return TrainConfig(**{f.name: saved[f.name] for f in dataclasses.fields(TrainConfig) if f.name in saved})


def normalized(network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """A network behind its normalisation."""
    return nn.Sequential(OrderedDict(normalize=Normalize(mean, std), network=network))


@torch.no_grad()
def check_network(network: nn.Module, data: ImageData) -> None:
    """Try the network on one grey image, before anything is written.

    Raises:
        ValueError: the images do not suit it, too small ones for example.
    """
    network.eval()(torch.full((1, data.in_chans, *data.image_size), 0.5))
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
        keep_best: also keep ``best.ckpt``, by validation accuracy, and TensorBoard's log.
        extra: plain values put into every checkpoint.

    Returns:
        `task`, trained; its ``tested`` is what the test images say, which are read once: of the best epoch's
        network with `keep_best`, else of the last one's.

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
        callbacks.append(BestCheckpoint(folder))
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
    if not last.exists():
        (folder / TESTED).unlink(missing_ok=True)  # of a network that is gone
    with warnings.catch_warnings():
        # Lightning advises on loaders and logging it does not know, and warns of its own use of torch.
        warnings.filterwarnings("ignore", category=PossibleUserWarning)
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=Warning)
        images = Images(data, config.batch_size, machine.seed)
        with _interrupts():
            trainer.fit(task, datamodule=images, ckpt_path=last if last.exists() else None, weights_only=True)
            _test_once(trainer, task, images, folder, keep_best)
    return task


@contextmanager
def _interrupts() -> Iterator[None]:
    try:
        yield
    except SystemExit as exit_:  # Lightning's answer to an interrupt
        raise KeyboardInterrupt from exit_


def _test_once(
    trainer: pl.Trainer, task: ClassificationTask, images: Images, folder: Path, best: bool
) -> None:
    """Read the test images, unless an earlier call did, and leave the task with its last weights."""
    path = folder / TESTED
    if path.exists():
        task.tested = saved(path)
        return
    last = {name: value.clone() for name, value in task.state_dict().items()}
    epoch = task.history[-1]["epoch"]
    if best:
        checkpoint = load_checkpoint(folder / BEST)
        task.load_state_dict(checkpoint["state_dict"])
        epoch = checkpoint["history"][-1]["epoch"]
    trainer.test(task, datamodule=images, verbose=False)
    assert task.tested is not None
    task.tested = {"epoch": epoch, **task.tested}
    task.load_state_dict(last)
    if not is_worker():
        write_text(path, json.dumps(task.tested))


class _Extra(Callback):
    """Puts plain values into every checkpoint."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint.update(self.values)


def root_device(machine: MachineConfig) -> torch.device:
    """The device that a run of one process trains on."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator=machine.accelerator, devices=1, **quiet).strategy.root_device  # type: ignore[arg-type]


def announce(data: ImageData) -> None:
    """Print what was found, before anything is done with it."""
    Console().print(str(data.found), highlight=False, markup=False, soft_wrap=True)


def describe(config: Any, data: ImageData, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a checkpoint says of itself, enough to build its network again."""
    return {
        "decoupled_nets": {
            "config": dataclasses.asdict(config),
            "options": options or {},
            "classes": list(data.classes),
            "in_chans": data.in_chans,
            "image_size": list(data.image_size),
            **origin(data, config.plugin),
        }
    }


def train(
    config: TrainConfig, folder: Path, *, resume: bool = False, restart: bool = False, quiet: bool = False
) -> ClassificationTask:
    """Train one network; what it leaves is config.yaml, data.json, checkpoints, history.csv and test.json.

    Args:
        config: the whole configuration.
        folder: where results go.
        resume: go on with the run that `folder` holds.
        restart: train anew in place of the run that `folder` holds.
        quiet: neither print the data found nor draw progress.

    Returns:
        The trained task; its ``history`` is the table of epochs, its ``network`` the module after the last
        epoch, its ``tested`` what the test images say of ``best.ckpt``.

    Raises:
        FileExistsError: `folder` holds a run, and neither `resume` nor `restart` is on.
        ValueError: the configuration or the data is not as it must be, or not that of the run to resume.
        KeyboardInterrupt: a signal came; the state was saved, `resume` goes on.
    """
    if config.ignored:
        warnings.warn(f"{config.operator} ignores {', '.join(config.ignored)}", stacklevel=2)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    quiet = quiet or is_worker()
    data = load_data(config)
    if not quiet:
        announce(data)
    network = build_network(config, config.operator, data)
    check_network(network, data)
    steps = config.epochs * len(data.train_loader(config.batch_size, config.seed))
    task = ClassificationTask(network, part(config, OptimConfig), steps)
    bar = Progress(steps, config.operator, quiet=quiet)
    with claimed(folder, config, data, resume=resume, restart=restart), bar as progress:
        return fit(
            task, data, config, folder, progress, f"{config.model} {config.operator}",
            extra=describe(config, data),
        )  # fmt: skip
