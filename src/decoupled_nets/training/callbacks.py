"""Callbacks: weight projection, checkpoints that survive anything, progress."""

from __future__ import annotations

import csv
import io
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint, ModelCheckpoint

from .._files import write_text
from .._progress import Progress
from ..optim import project_weights_
from ..tasks import Metric


class WeightProjection(Callback):
    """Reset the decoupled kernels to unit norm every `every` steps (Decoupled Networks, section 4).

    Args:
        every: steps between projections; the released code uses 100.

    Raises:
        ValueError: `every` is not positive.

    Example:
        >>> import pytorch_lightning as pl
        >>> from decoupled_nets.training import WeightProjection
        >>> trainer = pl.Trainer(callbacks=[WeightProjection(100)], logger=False, accelerator="cpu",
        ...                      enable_checkpointing=False, enable_progress_bar=False)
    """

    def __init__(self, every: int = 100) -> None:
        if every < 1:
            raise ValueError(f"every = {every} received; needed: at least 1")
        self.every = every

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Project after the step, if it is time."""
        # With accumulated gradients not every batch ends with a step; an epoch always does.
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        if stepped and trainer.global_step % self.every == 0:
            project_weights_(pl_module)


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt``, of the epoch with the best metric on the validation images; the first of equals.

    The best score belongs to the run, not to the place of its folder: a run that was moved keeps it.

    Args:
        folder: where the file goes.
        metric: what is compared, and which way is better.
    """

    def __init__(self, folder: Path, metric: Metric) -> None:
        mode = "max" if metric.better == "higher" else "min"
        super().__init__(
            folder, "best", monitor=f"val/{metric.name}", mode=mode,
            enable_version_counter=False, save_on_train_epoch_end=True,
        )  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score, with the paths of the folder as it is now."""
        assert self.dirpath is not None

        def here(path: str) -> str:
            return str(Path(self.dirpath or "", Path(path).name)) if path else path

        moved = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path")}
        kept = {here(path): score for path, score in state_dict["best_k_models"].items()}
        if gone := [path for path in kept if not Path(path).is_file()]:
            warnings.warn(f"{gone[0]} is gone: the best epoch is chosen from here on", stacklevel=2)
            return
        super().load_state_dict({**state_dict, **moved, "best_k_models": kept, "dirpath": self.dirpath})


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt`` and ``history.csv`` up to date, and turns Ctrl-C into a saved state.

    It saves after each epoch, and at the end of the step in which `minutes` have passed since. On SIGINT or
    SIGTERM it saves at the end of the running step, when parameters, optimizer and data agree, and then
    raises KeyboardInterrupt; a second signal raises it at once. After the last step of an epoch it waits for
    the epoch's end, validation included, so that no checkpoint holds an epoch half counted. Of several
    processes any may get the signal; they agree on it every `poll` steps.

    Args:
        folder: where the files go.
        minutes: longest time between two savings.
        poll: steps between two agreements of several processes.
    """

    def __init__(self, folder: Path, minutes: float = 10.0, poll: int = 10) -> None:
        self.folder = folder
        self.minutes = minutes
        self.poll = poll
        self._interrupted = False
        self._handlers: dict[int, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen for signals, in the main thread, where Python allows it."""
        self._saved = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        sys.stderr.write("\nStopping after this step; once more stops at once.\n")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if a signal came or it is time."""
        if trainer.is_last_batch or (trainer.world_size > 1 and trainer.global_step % self.poll):
            return
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # a checkpoint has no gradients
        stop = self._any(trainer, self._interrupted)
        if stop or self._any(trainer, time.monotonic() - self._saved > 60 * self.minutes):
            self._save(trainer)
        if stop:
            raise KeyboardInterrupt

    def _any(self, trainer: pl.Trainer, own: bool) -> bool:
        """Whether any process says so; all of them have to take the same way."""
        if trainer.world_size == 1:
            return own
        return bool(trainer.strategy.reduce_boolean_decision(own, all=False))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the epoch."""
        self._save(trainer)
        if trainer.is_global_zero:
            write_text(self.folder / "history.csv", history_csv(pl_module.history))  # type: ignore[arg-type]
        if self._any(trainer, self._interrupted):
            raise KeyboardInterrupt

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.folder / "last.ckpt")
        self._saved = time.monotonic()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back."""
        self.teardown(trainer, pl_module, "fit")


def history_csv(history: list[dict[str, float]]) -> str:
    """A history as CSV text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]) if history else [])
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


class StepProgress(Callback):
    """Feeds a :class:`Progress` one count a batch, and a line an epoch.

    Args:
        progress: what to feed.
        label: name of the run, for its lines.
    """

    def __init__(self, progress: Progress, label: str) -> None:
        self.progress = progress
        self.label = label

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count what was done before."""
        self.progress.describe(self.label)
        self.progress.skip(trainer.fit_loop.epoch_loop.batch_progress.total.completed)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Count a batch."""
        self.progress.advance()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how the epoch ended."""
        metric: Metric = pl_module.task.metric  # type: ignore[assignment, union-attr]
        value = float(trainer.callback_metrics[f"val/{metric.name}"])
        loss = pl_module.mean_train_loss()  # type: ignore[operator]
        watched: dict[str, float] = pl_module.watched  # type: ignore[assignment]
        attacked = "".join(
            f", under {title} {metric.text(watched[name])}"
            for name, title in (("val_fgsm", "FGSM"), ("val_pgd", "PGD-10"))
            if name in watched
        )
        self.progress.say(
            f"{self.label}: epoch {trainer.current_epoch + 1} of {trainer.max_epochs}, "
            f"training loss {loss:.3f}, validation {metric.title} {metric.text(value)}{attacked}"
        )
