"""What a calibration set, and how far outputs are from those they should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..conversion.report import align


@dataclass(frozen=True)
class Distance:
    """How far a network's outputs are from another's.

    Attributes:
        error: root mean square difference, in units of the standard deviation of the other's outputs
            between inputs: 1 is as far as one input's output from another's. None if they do not vary,
            as those of a single image.
        agreement: how many inputs have the same largest output, between 0 and 1; None if outputs are not
            (B, classes).
    """

    error: float | None
    agreement: float | None

    def __str__(self) -> str:
        agreement = "" if self.agreement is None else f", same class for {100 * self.agreement:.1f} %"
        error = "–" if self.error is None else f"{self.error:.3f}"
        return f"error {error}{agreement}"


@dataclass(frozen=True)
class CalibratedLayer:
    """What calibration set in one layer.

    Attributes:
        name: its qualified name.
        mean_norm: mean patch norm.
        radius: its median over the kernels, each in units of the mean norm of the patches that it sees; of a
            learned magnitude those at which it starts as its named one. None for a magnitude without one, and
            for a learned one that keeps its parameters.
        radii: the smallest and the largest of them.
        scale: smallest and largest of its channels.
        note: why the response cannot be kept, or the radius not be set; None if all is well.
    """

    name: str
    mean_norm: float
    radius: float | None
    radii: tuple[float, float] | None
    scale: tuple[float, float]
    note: str | None = None

    def _radius(self) -> str:
        if self.radius is None or self.radii is None:
            return "–"
        spread = "" if self.radii[1] < 1.1 * self.radii[0] else " ({:.1f} to {:.1f})".format(*self.radii)
        return f"{self.radius:.2f}×{spread}"


@dataclass(frozen=True)
class Calibration:
    """What :func:`decoupled_nets.calibrate` did; printed, it is a table.

    Attributes:
        layers: the decoupled layers in the order in which they compute.
        unused: names of those that no batch reached; they are as they were.
        before: distance of the converted network's outputs from the plain one's.
        after: the same after calibration.
        why_not: why outputs were not compared; None if they were.
    """

    layers: tuple[CalibratedLayer, ...]
    unused: tuple[str, ...]
    before: Distance
    after: Distance
    why_not: str | None = None

    def __str__(self) -> str:
        """One row a layer."""
        rows: list[Sequence[Any]] = [("layer", "mean patch norm", "radius", "scale")]
        for layer in self.layers:
            scale = "{:.3g} to {:.3g}".format(*layer.scale)
            rows.append((layer.name, f"{layer.mean_norm:.3g}", layer._radius(), scale))
        lines = [*align(rows), f"before: {self.before}", f"after: {self.after}"]
        if self.why_not:
            lines[-2:] = [f"outputs not compared: {self.why_not}"]
        notes = Counter(layer.note for layer in self.layers if layer.note)
        for note, count in notes.items():
            first = next(layer.name for layer in self.layers if layer.note == note)
            lines.append(f"{first}: {note}" if count == 1 else f"{count} layers, {first} first: {note}")
        if self.unused:
            lines.append(f"reached by no batch: {', '.join(self.unused)}")
        return "\n".join(lines)


def distance(outputs: list[Tensor], expected: list[Tensor]) -> Distance:
    """How far outputs are from those expected, both batch by batch."""
    actual, wanted = torch.cat(outputs).double(), torch.cat(expected).double()
    spread = (wanted - wanted.mean(0)).square().mean().sqrt()
    # What varies by no more than its type's rounding does not vary.
    exact = torch.finfo(torch.result_type(expected[0], 1.0)).eps
    varies = bool(spread > 4 * exact * wanted.square().mean().sqrt())
    error = float((actual - wanted).square().mean().sqrt() / spread) if varies else None
    if wanted.dim() != 2 or wanted.shape[1] < 2:
        return Distance(error, None)
    return Distance(error, float((actual.argmax(1) == wanted.argmax(1)).double().mean()))
