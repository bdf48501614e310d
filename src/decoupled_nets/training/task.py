"""Image classification as a LightningModule."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torchmetrics import Metric, SumMetric

from .._measure import Step
from ..optim import decoupled_layers, orthogonality, parameter_groups, weighted_gradients
from .config import OptimConfig

STEP_MILESTONES = (34 / 64, 54 / 64)  # of CNN-9's recipe: divided by 10 at 34k and 54k of 64k steps


class Score(Metric):
    """Cross-entropy and accuracy over the images of a split, of all processes together."""

    loss: Tensor
    correct: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("loss", torch.zeros(()), "sum")
        self.add_state("correct", torch.zeros((), dtype=torch.long), "sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), "sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: (B, classes) and (B,); B may be 0."""
        self.loss = self.loss + F.cross_entropy(logits.float(), labels, reduction="sum")
        self.correct = self.correct + (logits.argmax(1) == labels).sum()
        self.total = self.total + len(labels)

    def compute(self) -> dict[str, float]:
        """The mean loss in nats, and how many of how many images are classified correctly."""
        total = int(self.total)
        return {"loss": float(self.loss) / total, "correct": int(self.correct), "total": total}


class ClassificationTask(pl.LightningModule):
    """Trains a network from pixels in [0, 1] to logits, and records what each epoch ended with.

    Args:
        network: from (B, C, H, W) to (B, classes), its normalisation included.
        config: how to optimise it.
        steps: length of the learning rate's schedule.

    Attributes:
        history: one dict an epoch: epoch, train_loss, val_loss, val_correct, val_total, lr, seconds
            (of training alone); it is part of every checkpoint.
        tested: what the test images said at the end: loss, correct, total and the epoch of the network that
            was asked. None until then.
    """

    def __init__(self, network: nn.Module, config: OptimConfig, steps: int) -> None:
        super().__init__()
        self.network = network
        self.config = config
        # Asking the trainer would set up its loaders before it restores their position.
        self.steps = steps
        self.history: list[dict[str, float]] = []
        # Sums, not torchmetrics' MeanMetric: that one drops the weights unless it also drops NaNs.
        self.train_loss = SumMetric(nan_strategy="disable")
        self.train_total = SumMetric()
        self.val_score = Score()
        self.test_score = Score()
        self.tested: dict[str, float] | None = None
        self._penalised = config.orthogonality > 0 and any(True for _ in decoupled_layers(network))
        self._seconds = 0.0
        self._clock = 0.0
        self._resumed: dict[str, Any] | None = None
        if config.weighted_gradients:
            weighted_gradients(network)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), pixels in [0, 1], to logits (B, classes)."""
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        images, labels = batch
        loss = F.cross_entropy(self(images), labels, label_smoothing=self.config.label_smoothing)
        self.train_loss.update(loss.detach() * len(labels))
        self.train_total.update(len(labels))
        self.log("train/loss", loss.detach())
        if self._penalised:
            loss = loss + self.config.orthogonality * orthogonality(self.network)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count what is right; a process may get an empty batch at the very end."""
        self._count(self.val_score, batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """As in validation, on the test images."""
        self._count(self.test_score, batch)

    def _count(self, score: Score, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        if len(labels):
            score.update(self(images), labels)

    def on_train_epoch_start(self) -> None:
        """Start the clock."""
        self._clock = time.perf_counter()

    def on_validation_epoch_start(self) -> None:
        """Stop the clock: the seconds of an epoch are those of training."""
        synchronize(self.device)
        self._seconds += time.perf_counter() - self._clock

    def on_validation_epoch_end(self) -> None:
        """Log what the validation images say."""
        score = self.val_score.compute()
        self.log("val/loss", score["loss"])
        self.log("val/accuracy", score["correct"] / score["total"])

    def on_test_epoch_start(self) -> None:
        """Count anew."""
        self.test_score.reset()

    def on_test_epoch_end(self) -> None:
        """Keep what the test images say."""
        self.tested = self.test_score.compute()

    def on_train_epoch_end(self) -> None:
        """Add the epoch to the history; stop if the loss is no number any more."""
        train_loss = self.mean_train_loss()
        self.history.append(
            {
                "epoch": self.current_epoch + 1,
                "train_loss": train_loss,
                **{f"val_{name}": value for name, value in self.val_score.compute().items()},
                "lr": self.optimizers().param_groups[0]["lr"],  # type: ignore[union-attr]
                "seconds": self._seconds,
            }
        )
        self._seconds = 0.0
        for metric in (self.train_loss, self.train_total, self.val_score):
            metric.reset()
        if train_loss != train_loss:
            self.trainer.should_stop = True

    def mean_train_loss(self) -> float:
        """Mean over the images of this epoch so far, of all processes."""
        return float(self.train_loss.compute() / self.train_total.compute())

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule, by step."""
        optimizer = make_optimizer(self.network, self.config)
        scheduler = make_schedule(optimizer, self.config, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a bit-exact continuation needs."""
        checkpoint["history"] = self.history
        now = time.perf_counter()
        running = self._clock and not self.trainer.validating
        checkpoint["seconds"] = self._seconds + (now - self._clock if running else 0.0)
        # The mean of the epoch's steps so far, over all processes.
        sums = torch.stack([self.train_loss.sum_value, self.train_total.sum_value])
        checkpoint["train_loss"] = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        checkpoint["rng_state"] = torch.get_rng_state()
        checkpoint["cuda_rng_states"] = torch.cuda.get_rng_state_all()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        self.history = checkpoint["history"]
        self._seconds = checkpoint["seconds"]
        self._resumed = checkpoint

    def on_train_start(self) -> None:
        """Restore the random state last, so that nothing draws from it in between."""
        self._clock = time.perf_counter()
        if self._resumed is None:
            return
        if self.trainer.is_global_zero:
            loss, total = self._resumed["train_loss"]
            self.train_loss.update(loss)
            self.train_total.update(total)
        torch.set_rng_state(self._resumed["rng_state"].cpu())
        if len(self._resumed["cuda_rng_states"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in self._resumed["cuda_rng_states"]])
        self._resumed = None


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def make_optimizer(network: nn.Module, config: OptimConfig) -> Optimizer:
    """The optimizer over the network's parameter groups."""
    groups = parameter_groups(network, config.weight_decay)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.Adam(groups, lr=config.lr)


def make_schedule(optimizer: Optimizer, config: OptimConfig, steps: int) -> lr_scheduler.LRScheduler:
    """A linear warm-up, then the schedule over the rest of the steps."""
    warmup = int(config.warmup * steps)
    rest = max(steps - warmup, 1)
    schedule: lr_scheduler.LRScheduler
    if config.schedule == "cosine":
        schedule = lr_scheduler.CosineAnnealingLR(optimizer, rest)
    elif config.schedule == "step":
        schedule = lr_scheduler.MultiStepLR(optimizer, [round(m * rest) for m in STEP_MILESTONES])
    else:
        schedule = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if warmup == 0:
        return schedule
    rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, schedule], [warmup])


def whole_step(network: nn.Module, config: OptimConfig, images: Tensor, labels: Tensor) -> Step:
    """A function that does one whole training step: forward, backward, update."""
    network.train()
    optimizer = make_optimizer(network, config)

    def step() -> None:
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        synchronize(loss.device)

    return step
