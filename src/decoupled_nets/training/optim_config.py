"""What the user says about the optimisation."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from .._options import check_choices

_OFF = {
    "weight_decay": 0.0,
    "orthogonality": 0.0,
    "total_variation": 0.0,
    "clip_norm": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
}
#: Options that only some of the choices make use of: the choice, and the values of it that do.
_OF_USE = {
    "momentum": ("optimizer", ("sgd", "muon")),
    "milestones": ("schedule", ("step",)),
    "final_lr": ("schedule", ("cosine", "linear")),
}


@dataclass(frozen=True)
class OptimConfig:
    """The optimisation.

    Args:
        epochs: Passes over the training images.
        batch_size: Images in a step, of all processes together.
        accumulate: Batches whose gradients are added up for one step of the optimizer.
        optimizer: Update rule. `lamb` and `muon` are timm's; `muon` updates hidden kernels, and has AdamW
            with Nesterov's momentum update the first kernels, the classifier and all vectors.
        lr: Learning rate after the warm-up.
        momentum: Of `sgd` and `muon`.
        schedule: `cosine` or `linear` down to `final_lr`, `step` (divided by 10 at the milestones) or
            `constant`.
        milestones: Where `step` divides, in fractions of the steps after the warm-up, separated by commas.
        final_lr: Learning rate at the end of `cosine` and `linear`.
        warmup: Fraction of the steps in which the learning rate rises from zero.
        layer_decay: Factor on the learning rate from each layer to the one before it; 1 none.
        weight_decay: Decay of plain kernels and classifiers; radii, vectors and decoupled kernels have none.
        clip_norm: Largest norm of all gradients together, which are scaled down to it; 0: as they are.
        ema: Decay of a moving average of weights and statistics, which is what is validated, tested and kept;
            it begins lower, at (1 + n) / (10 + n) after n steps. 0: none.
        drop_rate: Dropout before the classifier (classify).
        drop_path: Probability of leaving out the last residual branch; less in proportion for those before.
        label_smoothing: Of the cross-entropy loss.
        mixup: α of the Beta distribution by which pairs of images are mixed (classification); 0 none.
        cutmix: α by which a part of an image is put into another (classification); 0 none. With `mixup`, one
            of the two is drawn for each batch.
        class_weights: Weights of the classes in the training loss, separated by commas; `balanced`: inverse
            to their frequency, 1 on average.
        project_every: Reset decoupled kernels to unit norm every so many steps; 0 never.
        weighted_gradients: Multiply the gradient of every decoupled kernel by its norm.
        orthogonality: Factor of the orthogonality penalty on decoupled kernels.
        operator_lr: Factor on the learning rate of what operators themselves learn: radii, sharpnesses and
            learned functions.
        total_variation: Factor of the penalty on the bends of learned splines.

    Raises:
        ValueError: a number is out of range.
    """

    epochs: int = 10
    batch_size: int = 128
    accumulate: int = 1
    optimizer: Literal["adam", "adamw", "sgd", "lamb", "muon"] = "adam"
    lr: float = 1e-3
    momentum: float = 0.9
    schedule: Literal["cosine", "linear", "step", "constant"] = "cosine"
    milestones: str = "0.53125,0.84375"  # of CNN-9's recipe: 34k and 54k of 64k steps
    final_lr: float = 0.0
    warmup: float = 0.05
    layer_decay: float = 1.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    ema: float = 0.0
    drop_rate: float = 0.0
    drop_path: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    class_weights: str | None = None
    project_every: int = 0
    weighted_gradients: bool = False
    orthogonality: float = 0.0
    operator_lr: float = 1.0
    total_variation: float = 0.0

    def __post_init__(self) -> None:
        check_choices(self)
        self._check_numbers()
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay = {self.layer_decay} received; needed: a number in (0, 1]")
        if not 0 <= self.final_lr <= self.lr:
            raise ValueError(f"final_lr = {self.final_lr} received; needed: a number from 0 to lr, {self.lr}")
        self.fractions  # noqa: B018 - refuses what are no fractions
        self.weights  # noqa: B018 - refuses what are no weights

    def _check_numbers(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("accumulate", 1), ("project_every", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: at least {least}")
        for name in ("lr", "operator_lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: a positive number")
        for name in _OFF:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: at least 0")
        for name in ("warmup", "label_smoothing", "momentum", "ema", "drop_rate", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: a number in [0, 1)")

    @property
    def fractions(self) -> list[float]:
        """The milestones as numbers."""
        found = _numbers("milestones", self.milestones)
        if found != sorted(found) or not all(0 < at < 1 for at in found):
            raise ValueError(
                f"milestones = {self.milestones!r} received; needed: rising fractions between 0 and 1"
            )
        return found

    @property
    def weights(self) -> list[float] | None:
        """The weights of the classes as numbers; None: there are none, or only the data tells them."""
        if self.class_weights in (None, "balanced"):
            return None
        found = _numbers("class_weights", str(self.class_weights))
        if not all(0 <= weight < math.inf for weight in found) or not any(found):
            raise ValueError(
                f"class_weights = {self.class_weights!r} received; needed: numbers from 0, or balanced"
            )
        return found

    @property
    def ignored(self) -> list[str]:
        """Options that were changed and that the chosen optimizer or schedule has no use for, in words."""
        usual = {f.name: f.default for f in dataclasses.fields(self)}
        return [
            f"{choice}={getattr(self, choice)} ignores {name}"
            for name, (choice, values) in _OF_USE.items()
            if getattr(self, choice) not in values and getattr(self, name) != usual[name]
        ]


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{name} = {text!r} received; needed: numbers separated by commas") from None
