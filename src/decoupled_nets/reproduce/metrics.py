"""What the figures of the papers' tables are, and how ours come about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Measured = Literal["training", "attacks", "counting", "measuring layers"]


@dataclass(frozen=True)
class Reported:
    """A kind of figure, in the unit that the papers report.

    Attributes:
        title: Its name and unit, as a table's heading.
        short: Its name beside a hypothesis.
        unit: Of a difference.
        better: Which way is better.
        measured: How ours come about.
        digits: Decimals.
        share: Whether it is a share of the images.
        relative: Whether a difference is said in percent of the worse figure, as their unit is the data's.
    """

    title: str
    short: str
    unit: str
    better: Literal["higher", "lower"]
    measured: Measured
    digits: int = 2
    share: bool = True
    relative: bool = False

    def gain(self, value: float, other: float) -> float:
        """By how much `value` is better than `other`; negative where it is worse."""
        gain = value - other if self.better == "higher" else other - value
        return 100 * gain / max(value, other) if self.relative else gain

    def figure(self, score: float) -> float:
        """The figure that a mean over images' scores is, of which a higher one is better."""
        if self.relative:
            return -score
        return 100 * (score if self.better == "higher" else 1 - score)


METRICS = {
    "error": Reported("error, %", "error", "points", "lower", "training"),
    "accuracy": Reported("accuracy, %", "accuracy", "points", "higher", "training"),
    "ap": Reported("AP, %", "AP", "points", "higher", "training", 1, share=False),
    "rmse": Reported("RMSE", "RMSE", "%", "lower", "training", share=False, relative=True),
    "fgsm": Reported("accuracy under FGSM, %", "FGSM", "points", "higher", "attacks"),
    "bim": Reported("accuracy under BIM, %", "BIM", "points", "higher", "attacks"),
    "standard": Reported("accuracy under the suite standard, %", "standard", "points", "higher", "attacks"),
    "transfer_fgsm": Reported(
        "accuracy under transferred FGSM, %", "transferred FGSM", "points", "higher", "attacks"
    ),
    "transfer_bim": Reported(
        "accuracy under transferred BIM, %", "transferred BIM", "points", "higher", "attacks"
    ),
    "latency": Reported("latency, ms", "latency", "ms", "lower", "measuring layers", 1),
    "memory": Reported("memory, MB", "memory", "MB", "lower", "measuring layers", 1),
    "parameters": Reported("parameters, millions", "parameters", "millions", "lower", "counting", 1),
    "multiply_adds": Reported("multiply-adds, billions", "multiply-adds", "billions", "lower", "counting", 1),
}


#: Ways that train no network.
UNTRAINED: tuple[Measured, ...] = ("counting", "measuring layers")


def measured(names: Sequence[str]) -> Measured:
    """How the figures of a table come about: attacks are on networks that were trained."""
    kinds = {METRICS[name].measured for name in names}
    return "attacks" if "attacks" in kinds else kinds.pop()
