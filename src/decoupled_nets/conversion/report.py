"""What a conversion did, layer by layer, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fate:
    """What became of one layer, or of one call that upsamples.

    Attributes:
        names: its qualified names in the network, several for a shared one, "" for the network itself; of a
            call those of the module that makes it, with the call's number.
        was: its kind and kernel size.
        became: its kind now, or None for a layer left as it was.
        reason: why it was left, or None.
        note: what was lost on the way, or what else is to be known, or None.
        selected: whether the selection took it.
    """

    names: tuple[str, ...]
    was: str
    became: str | None = None
    reason: str | None = None
    note: str | None = None
    selected: bool = False

    @property
    def name(self) -> str:
        """The first of its names."""
        return self.names[0]


@dataclass(frozen=True)
class Conversion:
    """What :func:`decoupled_nets.convert` did, or with ``dry_run`` would do; printed, it is a table.

    Attributes:
        fates: every convolution (and linear layer, if asked for) in the order of the network.
        parameters: their number before and after.
        flops: of one forward pass on the example input before and after, or None without an example.
        dry_run: whether the network was left as it was.
        notes: what else is to be known, in sentences.
        noun: what was converted: a layer, or a call.
    """

    fates: tuple[Fate, ...]
    parameters: tuple[int, int]
    flops: tuple[int, int] | None = None
    dry_run: bool = False
    notes: tuple[str, ...] = ()
    noun: str = "layer"

    @property
    def converted(self) -> tuple[Fate, ...]:
        """The layers that were converted."""
        return tuple(fate for fate in self.fates if fate.became is not None)

    @property
    def left(self) -> tuple[Fate, ...]:
        """The layers that were left, each with its reason."""
        return tuple(fate for fate in self.fates if fate.became is None)

    def __str__(self) -> str:
        """Layers of one kind and one fate make a row."""
        rows = [[f"{self.noun}s", "was", "became", "for example"]]
        kinds: dict[tuple[str, str], list[Fate]] = {}
        for fate in (*self.converted, *self.left):
            kinds.setdefault((fate.was, _outcome(fate)), []).append(fate)
        for (was, outcome), fates in kinds.items():
            rows.append([str(len(fates)), was, outcome, fates[0].name or "the network itself"])
        made = "would be converted" if self.dry_run else "converted"
        lines = [f"{len(self.converted)} {self.noun}s {made}, {len(self.left)} left"]
        if self.fates and not self.converted:
            selected = sum(fate.selected for fate in self.fates)
            lines.append(
                f"the selection takes {selected} {self.noun}s, which had to be left"
                if selected
                else "the selection takes none of them"
            )
        nothing = {"layer": "there is no convolution in it", "call": "it upsamples nothing"}
        lines += align(rows) if self.fates else [nothing[self.noun]]
        lines += [f"note: {note}" for note in self.notes]
        lines.append(_change("parameters", *self.parameters))
        if self.flops is not None:
            lines.append(_change("flops", *self.flops))
        return "\n".join(lines)


def _outcome(fate: Fate) -> str:
    if fate.became is None:
        return f"left: {fate.reason}"
    return fate.became + (f" ({fate.note})" if fate.note else "")


def _change(what: str, before: int, after: int) -> str:
    percent = f" ({100 * (after - before) / before:+.2f} %)" if before else ""
    return f"{what}: {before:,} before, {after:,} after{percent}"


def align(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Rows of cells as lines with aligned columns; the first row is the head."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
