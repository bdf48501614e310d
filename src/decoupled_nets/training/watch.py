"""Attacks on held-out images after each epoch of adversarial training, and what they say of it.

The images are validation images: the network never learns from them, and they are no test images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from .._metric import Metric
from ..data import ImageData
from ..robustness import Threat, Victim, attack_named
from ..robustness.victim import BATCH_SIZE

IMAGES = 500
#: What chooses the epoch where training is adversarial; see :func:`robust`.
ROBUST = Metric("robust", "accuracy under PGD-10")
ATTACKS = ("fgsm", "pgd")
WATCHED = ("val_clean", "val_fgsm", "val_pgd", "val_attacked")
_FALLEN, _HELD = 1 / 3, 0.9  # what is left of the accuracies that the best epoch had: of PGD-10's, of FGSM's
_APART, _EPOCHS = 1 / 4, 3  # PGD-10's accuracy beside FGSM's, for so many epochs ...
_SAFE = 1 / 3  # ... and FGSM's beside that without an attack
_ERRORS = 3.0  # standard errors that chance does not reach


class Watch(Callback):
    """Attacks held-out images with FGSM and PGD-10 after each epoch.

    It stands before the callback that swaps an average of the weights in, which it is to find there.

    Args:
        data: its validation images are attacked: :data:`IMAGES` of them, of all classes alike.
        threat: norm and radius.

    Raises:
        ValueError: there are no validation images, or pixels are not in [0, 1].
    """

    def __init__(self, data: ImageData, threat: Threat) -> None:
        if not data.val_size:
            raise ValueError(
                "no validation images received for adversarial training; needed: some, which choose the epoch"
            )
        self.threat = threat
        self.images, self.labels = data.val_subset(IMAGES)
        if not 0 <= float(self.images.min()) <= float(self.images.max()) <= 1:
            raise ValueError(
                f"pixels from {float(self.images.min()):g} to {float(self.images.max()):g} received for"
                " adversarial training; needed: from 0 to 1, as the radius is in these units"
            )

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attack, each process its share, and note what is left."""
        part = slice(trainer.global_rank, None, trainer.world_size)
        with torch.inference_mode(False):
            images, labels = (some[part].to(pl_module.device) for some in (self.images, self.labels))
            images = images.to(next(pl_module.parameters()).dtype)
            counts = attacked_accuracy(pl_module.network, images, labels, self.threat)  # type: ignore[arg-type]
            counts = trainer.strategy.reduce(counts.to(pl_module.device), reduce_op="sum")
        shares = [int(count) / len(self.labels) for count in counts]
        row: dict[str, float] = {**dict(zip(WATCHED, shares, strict=False)), WATCHED[-1]: len(self.labels)}
        pl_module.watched = row  # type: ignore[assignment]
        for name in WATCHED[:-1]:
            pl_module.log(name.replace("_", "/"), row[name])
        pl_module.log(f"val/{ROBUST.name}", robust(row))


def attacked_accuracy(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor, threat: Threat
) -> torch.Tensor:
    """How many images are right as they are, and after each of :data:`ATTACKS`: (3,) float64.

    Args:
        network: in evaluation mode.
        images: (B, C, H, W), pixels in [0, 1].
        labels: (B,).
        threat: norm and radius.
    """
    counts = [0] * (1 + len(ATTACKS))
    # A compiled network would be compiled anew for each number of images that still stand.
    with torch.compiler.set_stance("force_eager"):
        right = _predicted(network, images) == labels
        victim, counts[0] = Victim(network), int(right.sum())
        for i, name in enumerate(ATTACKS if counts[0] else (), 1):
            found = attack_named(name)(victim, images[right], labels[right], threat)
            counts[i] = int((found.step < 0).sum())
    return torch.tensor(counts, dtype=torch.float64)


@torch.no_grad()
def _predicted(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Classes, or -1 if the network has diverged: attacks refuse logits that are no numbers."""
    if not len(images):
        return torch.empty(0, dtype=torch.long, device=images.device)
    logits = torch.cat([network(some) for some in images.split(BATCH_SIZE)])
    return logits.argmax(1) if bool(logits.isfinite().all()) else torch.full_like(logits[:, 0].long(), -1)


def robust(row: dict[str, Any]) -> float:
    """PGD-10's accuracy in an epoch; of equal ones that epoch is better that is right about more images.

    The addition is less than one image makes.
    """
    return float(row["val_pgd"] + row["val_clean"] / (2 * row["val_attacked"]))


def best_of(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of the epoch that ``best.ckpt`` is of: the first of the best."""
    return max(history, key=robust)


def overfitted(history: Sequence[dict[str, Any]]) -> bool:
    """Whether the last epoch shows catastrophic overfitting: safe from one step, helpless against ten.

    Either PGD-10's accuracy has fallen below a third of its best while FGSM's has held; or, where it never
    was any good, FGSM's has risen for three epochs and PGD-10's, below a quarter of it, has not. Both by more
    than chance does with so many images. Young networks have such a gap, too, but it closes.

    Args:
        history: rows of epochs with ``val_fgsm``, ``val_pgd`` and ``val_attacked``.
    """
    if not history or "val_pgd" not in history[-1]:
        return False
    now, best = history[-1], best_of(history)
    if now["val_pgd"] < _FALLEN * best["val_pgd"] and now["val_fgsm"] >= _HELD * best["val_fgsm"]:
        return _beyond_chance(best["val_pgd"], now["val_pgd"], now["val_attacked"])
    last = history[-_EPOCHS:]
    return (
        len(last) == _EPOCHS
        and all(row["val_pgd"] < _APART * row["val_fgsm"] for row in last)
        and now["val_pgd"] <= last[0]["val_pgd"]
        and now["val_fgsm"] > max(last[0]["val_fgsm"], _SAFE * now["val_clean"])
        and _beyond_chance(now["val_fgsm"], now["val_pgd"], now["val_attacked"])
    )


def _beyond_chance(high: float, low: float, images: float) -> bool:
    mean = (high + low) / 2
    return high - low > _ERRORS * math.sqrt(2 * mean * (1 - mean) / images)


def stops(history: Sequence[dict[str, Any]]) -> bool:
    """Whether a training ends after its last epoch, however many are to come."""
    last = history[-1]["train_loss"] if history else 0.0
    return last != last or overfitted(history)


def ended(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What became of a training: the epoch chosen, what attacks left then, and where it overfitted."""
    best = best_of(history)
    return {
        "epoch": int(best["epoch"]),
        "fgsm": best["val_fgsm"],
        "pgd": best["val_pgd"],
        "images": int(best["val_attacked"]),
        "overfitted": int(history[-1]["epoch"]) if overfitted(history) else None,
    }


def told(history: Sequence[dict[str, Any]]) -> str:
    """What is to be said if the last epoch shows catastrophic overfitting; else ""."""
    if not overfitted(history):
        return ""
    now, best = history[-1], best_of(history)
    return (
        f"catastrophic overfitting in epoch {int(now['epoch'])}: of {int(now['val_attacked'])} validation"
        f" images FGSM leaves {ROBUST.text(now['val_fgsm'])}, PGD-10 {ROBUST.text(now['val_pgd'])}; training"
        f" ended, and the network is that of epoch {int(best['epoch'])}, with"
        f" {ROBUST.text(best['val_pgd'])} under PGD-10"
    )
