"""What was read of learned operators, layer by layer, as a table and in sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..calibration.report import Distance
from ..conversion.report import align
from ..ops.decoupled.magnitude import magnitudes
from .fits import Fit
from .matches import Match, simplest

#: Patches so many times as large or as small as in training are other ones.
_OTHER = 1.5


@dataclass(frozen=True)
class Curve:
    """A learned half as a line beside the named ones, and the data below.

    Attributes:
        at: ‖x‖ in units of the mean norm, or t = √d cos θ.
        learned: h, or √d g, there.
        named: the nearest of every named half, there.
        nearest: the name of the one chosen.
        edges: of the bins of the density.
        density: of the data in each bin, which integrates to 1.
        data: the range in which all but a thousandth of the data at either end lie.
    """

    at: Tensor
    learned: Tensor
    named: Mapping[str, Tensor]
    nearest: str
    edges: Tensor
    density: Tensor
    data: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "at": self.at.tolist(), "learned": self.learned.tolist(), "nearest": self.nearest,
            "named": {name: values.tolist() for name, values in self.named.items()},
            "edges": self.edges.tolist(), "density": self.density.tolist(), "data": list(self.data),
        }  # fmt: skip


@dataclass(frozen=True)
class DistilledLayer:
    """One layer, or one group of its channels.

    Attributes:
        name: its qualified name.
        group: the number of the group of channels, or None for a layer with one function.
        was: its learned operator.
        mean_norm: the norm m that radii are in units of.
        seen_norm: mean norm of the patches that it saw.
        patches: how many it saw.
        h: the magnitude nearest to the learned one, or None where it is not learned.
        g: the angle likewise.
        explained: R² about the mean of the response h·g, up to a factor.
        alike: angles that are the same function as the one chosen at this layer's cosines.
        matches: every candidate, the nearest first.
        h_curve: what to draw of h.
        g_curve: what to draw of g.
    """

    name: str
    group: int | None
    was: str
    mean_norm: float
    seen_norm: float
    patches: int
    h: Fit | None
    g: Fit | None
    explained: float
    alike: tuple[str, ...]
    matches: tuple[Match, ...]
    h_curve: Curve = field(repr=False, compare=False)
    g_curve: Curve = field(repr=False, compare=False)

    @property
    def operator(self) -> str:
        """The nearest operator's shorthand."""
        return self.matches[0].operator

    @property
    def label(self) -> str:
        """The name, with the group if there are several."""
        name = self.name or "the network itself"
        return name if self.group is None else f"{name}, group {self.group}"

    @property
    def constants(self) -> dict[str, float]:
        """ρ in units of the mean norm, β for α = 1, and k: those that the operator has."""
        of_h = (None, None) if self.h is None else (self.h.radius, self.h.beta)
        found = dict(zip("ρβk", (*of_h, None if self.g is None else self.g.k), strict=True))
        return {name: value for name, value in found.items() if value is not None}

    @property
    def scale(self) -> float:
        """The factor α of the response."""
        return (self.h.scale if self.h else 1.0) * (self.g.scale if self.g else 1.0)

    @property
    def sentence(self) -> str:
        """``layer3: seg-cos, ρ = 1.1 m, β = 0.31 explains 99.4 % of h, 99.9 % of g``."""
        said = [
            f"{name} = {value:.3g}{' m' if name == 'ρ' else ''}" for name, value in self.constants.items()
        ]
        parts = [f"{percent(fit.explained)} of {half}" for half, fit in (("h", self.h), ("g", self.g)) if fit]
        return f"{self.label}: {', '.join([self.operator, *said])} explains {', '.join(parts)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name, "group": self.group, "was": self.was, "operator": self.operator,
            "mean_norm": self.mean_norm, "seen_norm": self.seen_norm, "patches": self.patches,
            "scale": self.scale,
            "h": _plain(self.h), "g": _plain(self.g), "explained": self.explained,
            "same_angles": list(self.alike),
            "candidates": [
                {"operator": m.operator, "h": m.h, "g": m.g, "constants": m.constants} for m in self.matches
            ],
            "h_curve": self.h_curve.to_dict(), "g_curve": self.g_curve.to_dict(),
        }  # fmt: skip


@dataclass(frozen=True)
class Distillation:
    """What :func:`decoupled_nets.distil` read; printed, it is a table, sentences and a summary.

    Attributes:
        layers: the layers that learn, in the order in which they compute; a row a group of channels.
        unused: names of those that no batch reached.
        exchanged: whether the layers have the nearest operators now.
        distance: how far the outputs are from those before the exchange; None without one.
        why_not: why outputs were not compared; None if they were.
    """

    layers: tuple[DistilledLayer, ...]
    unused: tuple[str, ...] = ()
    exchanged: bool = False
    distance: Distance | None = None
    why_not: str | None = None
    _undo: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    @property
    def operator(self) -> str | None:
        """The operator that is nearest in every layer, or None if there are several."""
        found = {layer.operator for layer in self.layers}
        return found.pop() if len(found) == 1 else None

    @property
    def overall(self) -> str:
        """The operator that is nearest to all layers together, if each layer counts alike."""
        if self.operator is not None:
            return self.operator
        explained: dict[str, list[float]] = {}
        constants: dict[str, int] = {}
        for match in (match for layer in self.layers for match in layer.matches):
            explained.setdefault(match.operator, []).append(match.h + match.g)
            constants[match.operator] = match.constants
        most = max(map(len, explained.values()))  # an angle that is another's double in a layer is not there
        means = {name: sum(values) / most for name, values in explained.items() if len(values) == most}
        return simplest(means, constants)[0]

    @property
    def summary(self) -> str:
        """Which operator to use, in a sentence."""
        name = self.overall
        entry = magnitudes[name.partition("-")[0]]
        usual = f" (there β = {entry.beta:g}; dn.Operator takes another)" if entry.uses_beta else ""
        train = f"to train with it: --operator {name}{usual}."
        if self.operator is not None:
            return f"Every layer is nearest to {name}; {train}"
        found = [match for layer in self.layers for match in layer.matches if match.operator == name]
        least = (min(match.h for match in found), min(match.g for match in found))
        low = [percent(share).removeprefix("> ") for share in least]
        return (
            f"No one operator is nearest in every layer. Nearest to all together is {name}, which explains "
            f"at least {low[0]} of h and {low[1]} of g; {train}"
        )

    def undo(self) -> None:
        """Give the layers their learned operators back, to the bit, as they were before the exchange.

        Raises:
            ValueError: nothing was exchanged, or a layer is plain again; then nothing is changed.
        """
        if self._undo is None:
            raise ValueError("a report without an exchange received; needed: distil(..., exchange=True)")
        self._undo()

    def __str__(self) -> str:
        """One row a layer, then what it says."""
        said = [line if line.endswith("?") else f"{line}." for line in self.sentences]
        return "\n".join([self.title, *align(self.rows), "", *said, self.summary])

    @property
    def title(self) -> str:
        """What the table is of."""
        return f"Learned operators ({', '.join(self._were)}), and the nearest named ones"

    @property
    def _were(self) -> list[str]:
        return list(dict.fromkeys(layer.was for layer in self.layers))

    @property
    def rows(self) -> list[list[str]]:
        """The table, its head first; without what is the same, or nothing, in every layer."""
        head = ["layer", "was", "nearest", "ρ/m", "β", "k", "α", "R² of h", "R² of g", "R² of h·g"]
        rows = [
            [
                layer.label, layer.was, layer.operator,
                *(f"{layer.constants[name]:.3g}" if name in layer.constants else "–" for name in "ρβk"),
                f"{layer.scale:.3g}",
                *("–" if fit is None else f"{fit.explained:.4f}" for fit in (layer.h, layer.g)),
                f"{layer.explained:.4f}",
            ]
            for layer in self.layers
        ]  # fmt: skip
        empty = [i for i, _ in enumerate(head) if all(row[i] == "–" for row in rows)]
        empty += [1] if len(self._were) == 1 else []
        return [[cell for i, cell in enumerate(row) if i not in empty] for row in (head, *rows)]

    @property
    def sentences(self) -> list[str]:
        """What was found, one a layer, and what came of it."""
        said = [*(layer.sentence for layer in self.layers), *self._alike]
        strange = [one for one in self.layers if not 1 / _OTHER < one.seen_norm / one.mean_norm < _OTHER]
        if strange:
            times = strange[0].seen_norm / strange[0].mean_norm
            said.append(
                f"patches are {times:.2g} times as large as in training in {strange[0].label}"
                f"{f' and {len(strange) - 1} more' if strange[1:] else ''}: are these batches made as then?"
            )
        if self.unused:
            said.append(f"reached by no batch, and left: {', '.join(self.unused)}")
        if self.exchanged and self.distance is not None:
            far = f"not compared: {self.why_not}" if self.why_not else str(self.distance)
            said.append(f"exchanged everywhere; outputs beside those before: {far}")
        return said

    @property
    def _alike(self) -> list[str]:
        """Which angles cannot be told apart, and where."""
        groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for layer in self.layers:
            if layer.alike:
                groups.setdefault((layer.matches[0].pair[1], layer.alike), []).append(layer.label)
        said = []
        for (angle, alike), labels in groups.items():
            where = labels[0] if len(labels) == 1 else f"{len(labels)} layers, {labels[0]} first"
            are = "is" if len(alike) == 1 else "are"
            said.append(f"{' and '.join(alike)} {are} {angle} times a number at the cosines of {where}")
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the curves."""
        distance = self.distance
        return {
            "operator": self.operator, "overall": self.overall, "summary": self.summary,
            "sentences": self.sentences, "exchanged": self.exchanged, "unused": list(self.unused),
            "error": distance and distance.error, "agreement": distance and distance.agreement,
            "layers": [layer.to_dict() for layer in self.layers],
        }  # fmt: skip


def percent(share: float) -> str:
    """``99.4 %``; what is not all is not written as all, and less than nothing is nothing.

    >>> percent(0.9942), percent(0.99999), percent(1.0), percent(-3.0)
    ('99.4 %', '> 99.9 %', '100 %', '0 %')
    """
    if share <= 0:
        return "0 %"
    if share >= 0.9995:
        return "100 %" if share > 1 - 1e-7 else "> 99.9 %"
    return f"{100 * share:.1f} %"


def _plain(fit: Fit | None) -> dict[str, Any] | None:
    if fit is None:
        return None
    names = ("name", "explained", "error", "scale", "radius", "beta", "k")
    return {name: getattr(fit, name) for name in names}
