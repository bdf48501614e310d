"""Suites: which attacks, in which order, and on which images."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .._registry import unknown
from .attacks import Known, attack_named, attacks
from .threat import Threat


@dataclass(frozen=True)
class Stage:
    """One attack of a suite.

    Attributes:
        attack: Its name.
        every: Whether it sees every image that is classified correctly, so that its own number is known;
            otherwise it sees those that the stages before left.
        options: Of the attack, other than its own.
        threat: Another threat than the suite's; then the stage has a number of its own and breaks nothing.
        wide: In float64.
        surrogate: With the surrogate backward pass for saturated layers.
    """

    attack: str
    every: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    threat: str | None = None
    wide: bool = False
    surrogate: bool = False

    @property
    def known(self) -> Known:
        """The attack."""
        return attack_named(self.attack)

    @property
    def name(self) -> str:
        """By which results name it."""
        marks = [*(["float64"] if self.wide else []), *(["surrogate"] if self.surrogate else [])]
        return "+".join([self.attack, *marks]) + (f"@{self.threat}" if self.threat else "")

    @property
    def title(self) -> str:
        """In text."""
        marks = [*(["float64"] if self.wide else []), *(["surrogate gradient"] if self.surrogate else [])]
        title = f"{self.known.title}, {', '.join(marks)}" if marks else self.known.title
        return f"{title} ({Threat.parse(self.threat)})" if self.threat else title

    @property
    def settings(self) -> dict[str, Any]:
        """All options that it runs with: the function's defaults, the attack's own and these."""
        given = inspect.signature(self.known.run).parameters.values()
        defaults = {one.name: one.default for one in given if one.default is not one.empty}
        return {**defaults, **self.known.options, **self.options}

    def cost(self, classes: int) -> int:
        """About how many forward passes an image takes that it does not break."""
        options = self.settings
        rounds = options.get("restarts", 1) * (min(9, classes - 1) if options.get("targets") else 1)
        if "queries" in options:
            return int(options["queries"] * rounds)
        passes = 3 if self.known.white else 1
        return int(max(options.get("steps", options.get("tries", 1)), 1) * rounds * passes * (1 + self.wide))


@dataclass(frozen=True)
class Suite:
    """Attacks, worst case over all of them.

    Attributes:
        name: As users name it.
        stages: In this order.
        about: In a sentence.
        expected: Whether a network whose outputs are random is attacked through the mean of several passes.
    """

    name: str
    stages: tuple[Stage, ...]
    about: str
    expected: bool = False

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def for_threat(self, threat: Threat) -> Suite:
        """The suite without the attacks that are not made for the norm.

        Raises:
            ValueError: none is left.
        """
        left = tuple(
            s
            for s in self.stages
            if threat.norm in s.known.norms and not (s.threat and threat.norm != "linf")
        )
        if not left:
            raise ValueError(f"suite {self.name} has no attack for {threat}; needed: another threat or suite")
        return dataclasses.replace(self, stages=left)


_AUTO = tuple(Stage(name) for name in ("apgd-ce", "apgd-t", "fab-t", "square"))
SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "quick",
            (
                Stage("corners", every=True),
                Stage("fgsm", every=True),
                Stage("pgd", every=True),
                Stage("apgd-ce-50"),
                Stage("apgd-margin-50"),
            ),
            "a first look; stronger attacks may well leave less",
        ),
        Suite("standard", _AUTO, "the four attacks of AutoAttack with its budgets (Croce and Hein, 2020)"),
        Suite(
            "deep",
            (
                *_AUTO,
                Stage("pgd-ce"),
                Stage("pgd-margin"),
                Stage("pgd-scaled"),
                Stage("apgd-margin", wide=True),
                Stage("pgd-margin", surrogate=True),
                Stage("square-20000"),
            ),
            "standard, restarts of three losses, float64, a surrogate gradient for saturated layers, long"
            " random search; random networks through the mean of their outputs",
            expected=True,
        ),
        Suite(
            "paper",
            (
                Stage("fgsm", every=True),
                Stage("bim", every=True),
                Stage("fgsm", every=True, threat="linf:0.3"),
                Stage("bim-cleverhans", every=True, threat="linf:0.3"),
            ),
            "what Decoupled Networks (2018) names, with guessed settings, as it gives none: FGSM and 10 steps"
            " of BIM of an eighth of the radius without a random start; beside them the defaults of"
            " cleverhans, radius 0.3 and steps of 0.05; with transfer, black box by FGSM and BIM; far too"
            " weak for a claim",
        ),
    )
}


def suite_named(name: str | Suite) -> Suite:
    """A suite by its name, or of attacks named one by one, separated by commas.

    Attacks of a list each see every image that is classified correctly.

    Raises:
        ValueError: there is no such suite or attack.
    """
    if isinstance(name, Suite):
        return name
    if name in SUITES:
        return SUITES[name]
    names = [part.strip() for part in str(name).split(",")]
    for part in names:
        if part not in attacks():
            raise ValueError(unknown("suite or attack", part, [*SUITES, *attacks()]))
    if len(set(names)) != len(names):
        raise ValueError(f"suite = {name!r} received; needed: each attack once")
    return Suite(str(name), tuple(Stage(part, every=True) for part in names), "a list of attacks")
