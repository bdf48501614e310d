"""What the figures of the papers' tables are, and how ours come about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Measured = Literal["training", "features", "attacks", "counting", "measuring layers", "drawing operators"]
#: What a figure is made of: a score an image, one number a run, one that some runs do not have, or a formula.
Kept = Literal["images", "runs", "some runs", "nothing"]


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
        kept: What it is made of: intervals cover seeds and images, or seeds alone; of what some runs do not
            have, or of a formula, nothing is judged.
        share: Whether it is a share of the images.
        relative: Whether a difference is said in percent of the worse figure, as their unit is the data's.
    """

    title: str
    short: str
    unit: str
    better: Literal["higher", "lower"]
    measured: Measured
    digits: int = 2
    kept: Kept = "images"
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
    "curve": Reported(
        "validation accuracy, mean over the epochs, %",
        "mean over the epochs",
        "points",
        "higher",
        "training",
        share=False,
        kept="runs",
    ),
    "epochs_to_best": Reported(
        "epochs to the baseline's best",
        "epochs to the baseline's best",
        "epochs",
        "lower",
        "training",
        1,
        kept="some runs",
    ),
    "seconds_to_best": Reported(
        "training seconds to it",
        "seconds to the baseline's best",
        "s",
        "lower",
        "training",
        1,
        kept="some runs",
    ),
    "decoupling": Reported(
        "decoupling, points", "decoupling", "points", "higher", "features", 1, share=False
    ),
    "norm_within": Reported(
        "norm's share within a class, %",
        "norm within a class",
        "points",
        "higher",
        "features",
        1,
        share=False,
    ),
    "angle_between": Reported(
        "angle's share between classes, %",
        "angle between classes",
        "points",
        "higher",
        "features",
        1,
        share=False,
    ),
    "near": Reported("answer at ρ/2 along w", "near", "", "higher", "drawing operators", kept="nothing"),
    "far": Reported("answer at 10 ρ along w", "far", "", "higher", "drawing operators", kept="nothing"),
    "half": Reported(
        "angle that halves it, °", "half", "°", "higher", "drawing operators", 1, kept="nothing"
    ),
    "apart": Reported("apart from a moved x", "apart", "", "lower", "drawing operators", kept="nothing"),
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
UNTRAINED: tuple[Measured, ...] = ("counting", "measuring layers", "drawing operators")


def measured(names: Sequence[str]) -> Measured:
    """How the figures of a table come about: attacks and features are of networks that were trained."""
    kinds = {METRICS[name].measured for name in names}
    if "attacks" in kinds:
        return "attacks"
    return "features" if "features" in kinds else kinds.pop()
