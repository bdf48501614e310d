"""What attacks left: by image, by attack, and in words."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from .._statistics import Interval, wilson
from .checks import Check
from .losses import margin
from .threat import Threat


@dataclass
class StageResult:
    """What one attack of a suite did.

    Attributes:
        name: Of the stage.
        title: In text.
        threat: In text.
        every: Whether it saw every image that is classified correctly.
        white: Whether it uses gradients.
        images: All images, n.
        seen: Images that it saw.
        count: Images that it broke.
        budget: Its steps, or its queries.
        broken: (n,) bool, which.
        steps: (n,) int64, at which step; -1: not.
        seconds: Time that it took.
        forwards: Images that went through the network.
        backwards: Images whose gradient was computed.
    """

    name: str
    title: str
    threat: str
    every: bool
    white: bool
    images: int
    seen: int
    count: int
    budget: int
    broken: Tensor
    steps: Tensor
    seconds: float
    forwards: int
    backwards: int

    @property
    def left(self) -> int:
        """Images that it saw and did not break."""
        return self.seen - self.count


@dataclass
class Robustness:
    """What became of each image under a suite of attacks, and whether the attacks can be trusted.

    Attributes:
        threat: Norm and radius.
        suite: Name of the suite.
        seed: Of the attacks' random numbers.
        clean: (B,) bool, classified correctly as it is.
        robust: (B,) bool, and under every attack; an upper bound.
        broken_by: The first stage that broke it; ``clean`` where it was wrong before; empty where it stands.
        step: (B,) int64, of that stage's step or query; -1 where it stands.
        distance: (B,) float64, the smallest change that broke it; infinite where it stands.
        labels: (B,).
        logits: (B, K), without an attack.
        adversarial: (B, C, H, W), what broke it, or the last attempt.
        stages: One an attack.
        checks: What may be wrong with the attacks.
        notes: What else has to be said.
    """

    threat: Threat
    suite: str
    seed: int
    clean: Tensor
    robust: Tensor
    broken_by: list[str]
    step: Tensor
    distance: Tensor
    labels: Tensor
    logits: Tensor
    adversarial: Tensor
    stages: list[StageResult]
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.clean)

    def also_broken(
        self,
        name: str,
        title: str,
        broken: Tensor,
        images: Tensor,
        distance: Tensor,
        seconds: float,
        forwards: int,
        backwards: int,
    ) -> None:
        """Take up what another attack found.

        Args:
            name: of the attack.
            title: in text.
            broken: (B,) bool, images that the network takes for another class.
            images: (B, C, H, W), what it made of them.
            distance: (B,) float64, the change.
            seconds: that it took.
            forwards: images that went through the network.
            backwards: images whose gradient was computed.
        """
        new, seen = broken & self.robust, int(self.robust.sum())
        self.adversarial[new] = images[new].to(self.adversarial)
        self.distance = torch.where(new, distance, self.distance)
        self.robust = self.robust & ~new
        for place in new.nonzero()[:, 0].tolist():
            self.broken_by[place] = name
        steps = torch.full((len(self),), -1, dtype=torch.int64)
        self.stages.append(
            StageResult(
                name, title, str(self.threat), False, True, len(self), seen, int(new.sum()), 0, new, steps,
                seconds, forwards, backwards,
            )
        )  # fmt: skip

    @property
    def accuracy(self) -> float:
        """Share of images that stand: an upper bound on the accuracy under attack."""
        return float(self.robust.double().mean())

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of :attr:`accuracy`, over the choice of images."""
        found = wilson(int(self.robust.sum()), len(self))
        assert found is not None
        return found

    @property
    def flags(self) -> list[str]:
        """Names of the checks that speak up; empty: no sign that the attacks failed on their own account."""
        return [check.name for check in self.checks if check.flag]

    @property
    def margin(self) -> Tensor:
        """(B,), by how much the true class leads without an attack; negative: it does not."""
        return -margin(self.logits, self.labels)

    @property
    def verdict(self) -> str:
        """In words."""
        low, high = 100 * self.interval.low, 100 * self.interval.high
        words = (
            f"{self.suite}, {self.threat}, {len(self)} images: at most {100 * self.accuracy:.1f} % stand"
            f" (95 % interval {low:.1f} to {high:.1f})"
        )
        if not self.checks:
            return f"{words}. No check was made."
        if self.flags:
            return f"{words}. Signs that the attacks failed: {', '.join(self.flags)}; it may be far too high."
        return f"{words}. No sign of masking."

    def __str__(self) -> str:
        # Without colours, whatever the environment says: the text is also read by programs.
        console = Console(
            file=io.StringIO(), width=100, highlight=False, force_terminal=False, color_system=None
        )
        for table in self.tables():
            console.print(table)
        console.print(self.verdict, soft_wrap=True)
        for note in self.notes:
            console.print(f"Note: {note}.", soft_wrap=True)
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return text.rstrip()

    __repr__ = __str__

    def tables(self) -> list[Table]:
        """Accuracies by attack, and the checks."""
        table = Table(title=f"Accuracy under attack, {self.threat}, n = {len(self)}")
        table.add_column("attack")
        for heading in ("stand, %", "95 % interval", "seen", "broken", "seconds"):
            table.add_column(heading, justify="right")
        right = int(self.clean.sum())
        table.add_row("none", *_share(right, len(self), ""), str(len(self)), str(len(self) - right), "")
        standing = self.clean.clone()
        for stage in self.stages:
            own = stage.threat != str(self.threat)
            if not own:
                standing &= ~stage.broken
            left = stage.left if stage.every or own else int(standing.sum())
            row = (str(stage.seen), str(stage.count), f"{stage.seconds:.1f}")
            title = stage.title if stage.every or own else f"… and {stage.title}"
            table.add_row(title, *_share(left, len(self)), *row)
        if len(self.stages) > 1:
            table.add_row("all of them", *_share(int(self.robust.sum()), len(self)), "", "", "", style="bold")
        if not self.checks:
            return [table]
        checks = Table(title="Could the attacks have failed?")
        checks.add_column("check")
        checks.add_column("")
        checks.add_column("seen")
        for one in self.checks:
            checks.add_row(one.name, "!" if one.flag else "ok", one.text)
        return [table, checks]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the images."""
        found = self.interval
        return {
            "threat": self.threat.spelled,
            "suite": self.suite,
            "seed": self.seed,
            "images": len(self),
            "clean": int(self.clean.sum()),
            "robust": int(self.robust.sum()),
            "interval": [found.low, found.high],
            "median_distance": _median(self.distance[self.clean]),
            "attacks": [
                {
                    "name": s.name, "title": s.title, "threat": s.threat, "every": s.every, "seen": s.seen,
                    "broken": s.count, "seconds": s.seconds, "forwards": s.forwards,
                    "backwards": s.backwards,
                }
                for s in self.stages
            ],
            "checks": [
                {"name": c.name, "flag": c.flag, "text": c.text, "values": c.values} for c in self.checks
            ],
            "verdict": self.verdict,
            "notes": self.notes,
        }  # fmt: skip


def _median(distances: Tensor) -> float | None:
    """The median, if at least half of the images were broken."""
    if not len(distances):
        return None
    value = float(distances.double().quantile(0.5, interpolation="higher"))
    return None if value == torch.inf else value


def _share(count: int, total: int, sign: str = "≤ ") -> tuple[str, str]:
    found = wilson(count, total)
    assert found is not None
    return f"{sign}{100 * count / total:.1f}", f"{100 * found.low:.1f} to {100 * found.high:.1f}"
