"""The LightningModule that trains a network, whatever its task."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric, SumMetric
from torchmetrics.utilities import dim_zero_cat

from .._measure import synchronize
from ..data import ImageData
from ..optim import weighted_gradients
from ..robustness.draws import Draws
from ..tasks import Task, further_metrics
from .adversarial import Crafting, adversarial_loss
from .adversarial_config import AdversarialConfig
from .class_weights import class_weights
from .config import MachineConfig
from .dropping import drop_in_training
from .mixing import Mixing
from .optim_config import OptimConfig
from .optimizer import make_optimizer, make_schedule, penalties, shown_rate, updates
from .watch import stops

Batch = tuple[Tensor, Any]


class Tally(Metric):
    """Adds up the losses and the outcomes of the images of a split, of all processes together.

    Args:
        task: says what is kept of an image.
    """

    loss: Tensor
    totals: Tensor
    images: Tensor
    rows: list[Tensor]

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.add_state("loss", torch.zeros(()), "sum")
        self.add_state("totals", torch.zeros(task.counts if task.adds else 0, dtype=torch.long), "sum")
        self.add_state("rows", [], "cat")  # of tasks whose outcomes do not add up
        self.add_state("images", torch.zeros((), dtype=torch.long), "sum")

    def update(self, outputs: Any, targets: Any, outcomes: Tensor) -> None:
        """Count a batch, given what the network gives, its targets and what is kept of each image."""
        self.loss = self.loss + self.task.loss(outputs, targets, reduction="sum")
        if self.task.adds:
            self.totals = self.totals + outcomes.sum(0)
        else:
            self.rows.append(outcomes)
        self.images = self.images + len(outcomes)

    def sync(self, *args: Any, **options: Any) -> None:
        """Gather what all processes have, one without images among them."""
        if not self.task.adds and not self.rows:
            self.rows.append(torch.zeros(0, self.task.counts, dtype=torch.long, device=self.device))
        super().sync(*args, **options)

    def compute(self) -> dict[str, float]:
        """The mean loss, the task's metric, and the number of images."""
        images = int(self.images)
        value = self.task.value((self.totals if self.task.adds else dim_zero_cat(self.rows)).cpu(), images)
        return {"loss": float(self.loss) / images, self.task.metric.name: value, "images": images}


class TaskModule(pl.LightningModule):
    """Trains a network on pixels in [0, 1], and records what each epoch ended with.

    Args:
        network: takes images (B, C, H, W), its normalisation included.
        task: what it learns: loss and metric.
        config: how to optimise it.
        steps: batches of the whole training, from which the learning rate's schedule follows.
        adversarial: how images are attacked before the network learns from them; None: they are not.

    Attributes:
        history: one dict an epoch: epoch, train_loss, val_loss, val_<metric>, val_images, lr, seconds
            (of training alone); where training is adversarial also val_clean, val_fgsm, val_pgd, shares of
            val_attacked held-out images. It is part of every checkpoint.
        watched: what the attacks after this epoch left, by the names of the history.
        tested: what the test images said at the end: loss, metric, images, ``metrics`` (the further ones) and
            the epoch of the network that was asked. None until then.
        outcomes: what is kept of each test image, (images, task.counts), in their order.
        kept: that again, and what else the task keeps of each, by name.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        config: OptimConfig,
        steps: int,
        adversarial: AdversarialConfig | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.task = task
        self.config = config
        self.adversarial = adversarial or AdversarialConfig()
        # Asking the trainer would set up its loaders before it restores their position.
        self.steps = steps
        self.history: list[dict[str, float]] = []
        self.watched: dict[str, float] = {}
        # Sums, not torchmetrics' MeanMetric: that one drops the weights unless it also drops NaNs.
        self.train_loss = SumMetric(nan_strategy="disable")
        self.train_total = SumMetric(nan_strategy="disable")  # to look for NaN would wait for the device
        self.val_score = Tally(task)
        self.test_score = Tally(task)
        self.tested: dict[str, Any] | None = None
        self.outcomes: Tensor | None = None
        self.kept: dict[str, Tensor] = {}
        self._kept: list[tuple[Tensor, dict[str, Tensor]]] = []
        self._further: dict[str, Metric] = {}
        self._penalties = penalties(network, config)
        self._mix = Mixing(config, len(task.classes))
        self._seed = 0
        self._layout: torch.memory_format | None = None
        self._class_weights: Tensor | None
        self.register_buffer("_class_weights", None, persistent=False)
        self._seconds = 0.0
        self._clock = 0.0
        self._resumed: dict[str, Any] | None = None
        drop_in_training(network, config.drop_rate, config.drop_path)
        if config.weighted_gradients:
            weighted_gradients(network)

    def settle(self, machine: MachineConfig, data: ImageData | None) -> None:
        """Take over what else training depends on: seed and form of the computation, weights of the classes.

        Args:
            machine: seed, layout of the images, and whether the network is compiled.
            data: the images; their classes are counted where the weights are to balance them.

        Raises:
            ValueError: there is not a weight for each class, or nothing to count.
        """
        self._seed = machine.seed
        self._class_weights = class_weights(self.task, self.config, data)
        if machine.channels_last:
            self._layout = torch.channels_last
            self.network.to(memory_format=torch.channels_last)
        if machine.compile:
            self.network.compile()

    def forward(self, images: Tensor) -> Any:
        """(B, C, H, W), pixels in [0, 1], to what the network gives."""
        return self.network(self._laid_out(images))

    def _laid_out(self, images: Tensor) -> Tensor:
        return images if self._layout is None else images.to(memory_format=self._layout)

    def _in_training(self, images: Tensor, *targets: Any) -> Any:
        network: Any = self.network
        return network.with_targets(self._laid_out(images), *targets) if targets else self(images)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch, the penalty on the weights included."""
        images, targets = batch
        if self._mix:
            images, targets = self._mix(images, targets, self._seed, self.current_epoch, batch_idx)
        loss = self._loss(images, targets, batch_idx)
        self.train_loss.update(loss.detach() * len(images))
        self.train_total.update(len(images))
        self.log("train/loss", loss.detach())
        for factor, penalty in self._penalties:
            loss = loss + factor * penalty(self.network)
        return loss

    def _loss(self, images: Tensor, targets: Any, batch_idx: int) -> Tensor:
        """That of a batch, which is attacked first where training is adversarial.

        What is drawn depends on the run's seed, the epoch, the batch and the image's place in it, whichever
        process has it.
        """
        smoothing, weights = self.config.label_smoothing, self._class_weights
        options = {"label_smoothing": smoothing, "class_weights": weights}
        config, way = self.adversarial, self.adversarial.way
        if way is None:
            return self.task.training_loss(self._in_training, images, targets, **options)
        loss = partial(self.task.loss, **options)  # type: ignore[arg-type]
        places = self.global_rank * len(images) + torch.arange(len(images), device=images.device)
        draws = Draws(places, f"adversarial {self.current_epoch} {batch_idx}", self._seed)
        crafting = Crafting(self, loss, images, targets, config.threat, draws, config.adversarial_steps)
        return adversarial_loss(way, crafting, self.network, config.adversarial_beta)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count how good it is; a process may get an empty batch at the very end."""
        images, targets = batch
        if len(images):
            outputs = self.task.outputs(self.network, self._laid_out(images))
            self.val_score.update(outputs, targets, self.task.outcomes(outputs, targets))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As in validation; what is kept of each image is kept."""
        images, targets = batch
        if len(images):
            outputs = self.task.outputs(self.network, self._laid_out(images))
            outcomes = self.task.outcomes(outputs, targets)
            self.test_score.update(outputs, targets, outcomes)
            places = self.trainer.test_dataloaders.places(batch_idx)  # type: ignore[union-attr]
            kept = {"outcomes": outcomes, **self.task.kept(outputs, targets)}
            self._kept.append((places, {name: value.cpu() for name, value in kept.items()}))
            for one in further_metrics(self.task.name):
                one.update(self._further[one.metric.name], outputs.float(), targets, outcomes)

    def on_train_epoch_start(self) -> None:
        """Start the clock."""
        self._clock = time.perf_counter()

    def on_validation_epoch_start(self) -> None:
        """Stop the clock: the seconds of an epoch are those of training."""
        synchronize(self.device)
        self._seconds += time.perf_counter() - self._clock

    def on_validation_epoch_end(self) -> None:
        """Log what the validation images say."""
        score, metric = self.val_score.compute(), self.task.metric.name
        self.log("val/loss", score["loss"])
        self.log(f"val/{metric}", score[metric])

    def on_test_epoch_start(self) -> None:
        """Count anew."""
        self.test_score.reset()
        self._kept = []
        made = {one.metric.name: one.make(self.task.classes) for one in further_metrics(self.task.name)}
        self._further = {name: metric.to(self.device) for name, metric in made.items()}

    def on_test_epoch_end(self) -> None:
        """Keep what the test images say."""
        further = {name: metric.compute().tolist() for name, metric in self._further.items()}
        self.tested = {**self.test_score.compute(), "metrics": further}
        self.keep(self._in_order())

    def keep(self, kept: dict[str, Tensor]) -> None:
        """Note what is kept of the test images, by name."""
        self.outcomes = kept["outcomes"].long()
        self.kept = kept

    def _in_order(self) -> dict[str, Tensor]:
        """What is kept of the test images of all processes, in their order."""
        parts = [self._kept]
        if self.trainer.world_size > 1:
            parts = [[]] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, self._kept)
        every = [pair for part in parts for pair in part]
        order = torch.cat([place for place, _ in every]).argsort()
        return {name: torch.cat([kept[name] for _, kept in every])[order] for name in every[0][1]}

    def on_train_epoch_end(self) -> None:
        """Add the epoch to the history; stop if the loss is no number any more, or attacks are overfitted."""
        train_loss = self.mean_train_loss()
        self.history.append(
            {
                "epoch": self.current_epoch + 1,
                "train_loss": train_loss,
                **{f"val_{name}": value for name, value in self.val_score.compute().items()},
                **self.watched,
                "lr": shown_rate(self.optimizers()),  # type: ignore[arg-type]
                "seconds": self._seconds,
            }
        )
        self._seconds = 0.0
        for metric in (self.train_loss, self.train_total, self.val_score):
            metric.reset()
        if stops(self.history):
            self.trainer.should_stop = True

    def mean_train_loss(self) -> float:
        """Mean over the images of this epoch so far, of all processes."""
        return float(self.train_loss.compute() / self.train_total.compute())

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule, by step."""
        optimizer = make_optimizer(self.network, self.config)
        scheduler = make_schedule(optimizer, self.config, updates(self.steps, self.config))
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
        self.trainer.should_stop = stops(self.history)  # it had ended
        if self.trainer.is_global_zero:
            loss, total = self._resumed["train_loss"]
            self.train_loss.update(loss)
            self.train_total.update(total)
        torch.set_rng_state(self._resumed["rng_state"].cpu())
        if len(self._resumed["cuda_rng_states"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in self._resumed["cuda_rng_states"]])
        self._resumed = None
