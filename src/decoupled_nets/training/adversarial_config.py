"""What the user says about adversarial training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..robustness import Threat
from .adversarial import Way, way_named

#: Weights, and so outputs, in half precision, as pytorch-lightning calls it.
HALF = ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")
#: Strategies that spread weights over processes, where they cannot be without gradients for a while.
_SPREAD = ("fsdp", "deepspeed", "model_parallel")


@dataclass(frozen=True)
class AdversarialConfig:
    """Adversarial training: the images of a batch are attacked before the network learns from them.

    Args:
        adversarial: How images are attacked in training (classification): `none`, `n-fgsm`, `fgsm-rs`,
            `fgsm` (each twice the passes of a plain step), `pgd` (as many as steps, and one) or `trades`.
            Held-out images are attacked after each epoch, and choose `best.ckpt`.
        adversarial_threat: Norm and radius, for pixels in [0, 1], such as `linf:8/255` or `l2:0.5`.
        adversarial_steps: Gradient steps of `pgd` and `trades`.
        adversarial_beta: Of `trades`: weight of the divergence beside the loss of the images as they are.

    Raises:
        ValueError: there is no such way or threat, they do not suit each other, or a number is out of range.
    """

    adversarial: str = "none"
    adversarial_threat: str = "linf:8/255"
    adversarial_steps: int = 7
    adversarial_beta: float = 6.0

    def __post_init__(self) -> None:
        if self.adversarial_steps < 1:
            raise ValueError(f"adversarial_steps = {self.adversarial_steps} received; needed: at least 1")
        if not 0 <= self.adversarial_beta < math.inf:
            raise ValueError(f"adversarial_beta = {self.adversarial_beta} received; needed: at least 0")
        threat, way = self.threat, self.way
        if not threat.radius > 0:
            raise ValueError(f"adversarial_threat = {threat.spelled} received; needed: a radius above 0")
        if way is not None and threat.norm not in way.norms:
            raise ValueError(
                f"adversarial_threat = {threat.spelled} received with adversarial={way.name}, whose noise and"
                f" step are those of L∞; needed: linf, or adversarial=pgd, trades or fgsm"
            )

    @property
    def threat(self) -> Threat:
        """Norm and radius."""
        return Threat.parse(self.adversarial_threat)

    @property
    def way(self) -> Way | None:
        """How images are attacked; None: they are not."""
        return None if self.adversarial == "none" else way_named(self.adversarial)

    @property
    def ignored(self) -> list[str]:
        """Options that were changed and that the way has no use for, in words."""
        way, usual = self.way, AdversarialConfig()
        of_use = {
            "adversarial_threat": way is not None,
            "adversarial_steps": way is not None and way.iterates,
            "adversarial_beta": way is not None and way.paired,
        }
        names = [n for n, used in of_use.items() if not used and getattr(self, n) != getattr(usual, n)]
        return [f"adversarial={self.adversarial} ignores {', '.join(names)}"] if names else []

    def __str__(self) -> str:
        """How training is adversarial, in a few words; "" where it is not."""
        if self.way is None:
            return ""
        steps = f"-{self.adversarial_steps}" if self.way.iterates else ""
        beta = f" with β {self.adversarial_beta:g}" if self.way.paired else ""
        return f"{self.way.title}{steps}{beta} within {self.threat}"


def check_machine_for(config: AdversarialConfig, machine: Any) -> None:
    """Refuse machines on which images cannot be attacked properly.

    Raises:
        ValueError: weights in half precision, or spread over processes.
    """
    if config.way is None:
        return
    if machine.precision in HALF:
        raise ValueError(
            f"precision = {machine.precision} received with adversarial={config.adversarial}; needed: 32-true"
            " or bf16-mixed, as changes of a pixel are lost in half precision"
        )
    if machine.strategy.startswith(_SPREAD):
        raise ValueError(
            f"strategy = {machine.strategy} received with adversarial={config.adversarial}; needed: auto or"
            " ddp, where each process has all weights"
        )
