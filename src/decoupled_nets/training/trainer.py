"""The trainer: pytorch-lightning, set up so that a run can be interrupted anywhere."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.warnings import PossibleUserWarning
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from safetensors.torch import load_file, save

from .._files import write_atomically, write_text
from .._progress import Progress
from ..data import ImageData
from .averaging import WeightAverage
from .callbacks import BestCheckpoint, LastCheckpoint, StepProgress, WeightProjection
from .checkpoint import AtomicCheckpointIO, load_checkpoint
from .config import MachineConfig
from .folder import BEST, LAST, OUTCOMES, TESTED, is_worker, saved
from .module import TaskModule
from .watch import ROBUST, Watch, told

#: Pixels of a batch without backward pass: 256 images of 128 × 128.
_PIXELS = 2**22


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
        """A batch size without backward pass, which the processes share evenly: large images are fewer."""
        processes = self._processes()["world_size"]
        height, width = self.data.image_size
        some = max(self.batch_size, min(256, _PIXELS // (height * width)))
        return -(-some // processes) * processes


def fit(
    module: TaskModule,
    data: ImageData,
    machine: MachineConfig,
    folder: Path,
    progress: Progress,
    label: str,
    *,
    keep_best: bool = True,
    test: bool = True,
    extra: dict[str, Any] | None = None,
) -> TaskModule:
    """Train until the last epoch, from ``last.ckpt`` on if `folder` has one.

    Args:
        module: what to train.
        data: the images.
        machine: seed, devices, precision.
        folder: where checkpoints, logs and ``history.csv`` go.
        progress: counts steps.
        label: name of the run.
        keep_best: also keep ``best.ckpt``, by the metric on the validation images, and TensorBoard's log;
            where training is adversarial, in any case, and by what attacks leave of validation images.
        test: ask the test images at the end.
        extra: plain values put into every checkpoint.

    Returns:
        `module`, trained; its ``tested`` is what the test images say, which are read once: of the best
        epoch's network with `keep_best`, else of the last one's. It has the weights of the last epoch; where
        training is adversarial, of the best one.

    Raises:
        KeyboardInterrupt: a signal came; the state was saved.
    """
    own: list[Callback] = [StepProgress(progress, label), _Extra(extra or {})]
    if module.adversarial.way is not None:
        own.append(Watch(data, module.adversarial.threat))
        keep_best = True  # the last epoch may be one that overfits
    trainer = _trainer_of(module, machine, folder, own, keep_best)
    last = folder / LAST
    if not last.exists():
        (folder / TESTED).unlink(missing_ok=True)  # of a network that is gone
    images = Images(data, module.config.batch_size, machine.seed)
    module.settle(machine, data)
    with _without_advice(), _interrupts():
        resumed = last if last.exists() else None
        trainer.fit(module, datamodule=images, ckpt_path=resumed, weights_only=True)
        if text := told(module.history):
            progress.say(f"{label}: {text}")
        if test:
            _test_once(trainer, module, images, folder, keep_best)
    if module.adversarial.way is not None:
        module.load_state_dict(load_checkpoint(folder / BEST)["state_dict"])
    return module


def _trainer_of(
    module: TaskModule, machine: MachineConfig, folder: Path, own: list[Callback], keep_best: bool
) -> pl.Trainer:
    """Lightning's trainer for a run's options.

    Args:
        module: has the options of the optimisation.
        machine: devices, precision.
        folder: where checkpoints and logs go.
        own: the run's further callbacks.
        keep_best: also keep ``best.ckpt`` and TensorBoard's log.
    """
    # What it announces (devices found, tips) is either in our own output or no help.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    config, callbacks = module.config, list(own)
    judge = module.task.metric if module.adversarial.way is None else ROBUST
    callbacks += [WeightProjection(config.project_every)] if config.project_every else []
    callbacks += [WeightAverage(config.ema)] if config.ema else []
    callbacks += [BestCheckpoint(folder, judge)] if keep_best else []
    callbacks.append(LastCheckpoint(folder, machine.checkpoint_minutes))
    return pl.Trainer(
        accelerator=machine.accelerator, devices=machine.devices, num_nodes=machine.num_nodes,
        strategy=machine.strategy, precision=machine.precision,  # type: ignore[arg-type]
        sync_batchnorm=machine.sync_batchnorm,
        default_root_dir=folder, max_epochs=config.epochs,
        accumulate_grad_batches=config.accumulate, gradient_clip_val=config.clip_norm or None,
        callbacks=callbacks, plugins=[AtomicCheckpointIO()],
        logger=TensorBoardLogger(folder, name=None, version="tensorboard") if keep_best else False,
        deterministic="warn", num_sanity_val_steps=0, use_distributed_sampler=False,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=10,
    )  # fmt: skip


def check_machine(machine: MachineConfig) -> None:
    """Make a trainer, and leave it: what it refuses, it refuses before anything is written.

    Raises:
        ValueError: there is no such strategy or precision.
        MisconfigurationException: pytorch-lightning's word for a device that is not to be had.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with _without_advice():
        pl.Trainer(
            accelerator=machine.accelerator, devices=machine.devices, num_nodes=machine.num_nodes,
            strategy=machine.strategy, precision=machine.precision,  # type: ignore[arg-type]
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip


@contextmanager
def _without_advice() -> Iterator[None]:
    """Lightning advises on loaders and logging it does not know, and warns of its own use of torch."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=PossibleUserWarning)
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=Warning)
        yield


@contextmanager
def _interrupts() -> Iterator[None]:
    try:
        yield
    except SystemExit as exit_:  # Lightning's answer to an interrupt
        raise KeyboardInterrupt from exit_


def _test_once(trainer: pl.Trainer, module: TaskModule, images: Images, folder: Path, best: bool) -> None:
    """Read the test images, unless an earlier call did, and leave the module with its last weights."""
    path = folder / TESTED
    if path.exists():
        module.tested = saved(path)
        module.keep(load_file(folder / OUTCOMES))
        return
    last = {name: value.clone() for name, value in module.state_dict().items()}
    epoch = module.history[-1]["epoch"]
    if best:
        checkpoint = load_checkpoint(folder / BEST)
        module.load_state_dict(checkpoint["state_dict"])
        epoch = checkpoint["history"][-1]["epoch"]
    trainer.test(module, datamodule=images, verbose=False)
    assert module.tested is not None
    module.tested = {"epoch": epoch, **module.tested}
    module.load_state_dict(last)
    if not is_worker():
        kept = {name: compact(value) for name, value in module.kept.items()}
        write_atomically(folder / OUTCOMES, lambda file: file.write(save(kept)))
        write_text(path, json.dumps(module.tested))


def compact(values: torch.Tensor) -> torch.Tensor:
    """Whole numbers from 0 in the smallest type that holds them; other numbers as they are."""
    if values.is_floating_point():
        return values.contiguous()
    most = int(values.max()) if values.numel() else 0
    kinds = ((torch.uint8, 2**8), (torch.int16, 2**15), (torch.int32, 2**31))
    kind = next((kind for kind, beyond in kinds if most < beyond), torch.int64)
    return values.to(kind).contiguous()


class _Extra(Callback):
    """Puts plain values into every checkpoint."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint.update(self.values)
