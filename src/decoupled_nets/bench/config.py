"""What the user says about a benchmark."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from .._registry import unknown
from ..ops.decoupled.operator import resolve_operator
from .cases import Case
from .grids import GRIDS
from .paths import PATHS

ALL = "all"


@dataclass(frozen=True)
class BenchConfig:
    """What to measure.

    Args:
        grid: Which layers, separated by commas: "cnn9" (the nine 3×3 layers of CNN-9), "imagenet" (3×3 layers
            on 56², 28² and 14²), "shapes" (1×1, stride 2, groups, channels_last, bf16), "batch1" (inference
            of one image), "growth" (as channels, resolution and batch grow), "networks" (CNN-9 as a whole:
            training step and inference), or "all".
        operators: Operators separated by commas.
        batch_size: Images in CNN-9's batch; the larger images of other grids come in smaller batches.
        width: Multiplies the channels.
        rounds: Interleaved rounds; medians over them are reported.
        radius: How the operators' radius is learned: "learned" or "relative" (of learned ones: relative).
        paths: Ways of computing them, separated by commas: "layer" (as a layer runs here), "composed" (of
            torch's operations), "released" (of those the paper's released code uses), "compiled"
            (torch.compile of the layer, against torch.compile of nn.Conv2d; compiling takes its time).
        plugin: Python file or module that registers operators; imported first.

    Raises:
        ValueError: a name is unknown or stands twice, or a number is out of range.
    """

    grid: str = "cnn9"
    operators: str = "tanh-cos,ball-cos,seg-sqcos"
    batch_size: int = 64
    width: float = 1.0
    rounds: int = 7
    radius: Literal["learned", "relative"] = "learned"
    paths: str = "layer"
    plugin: str | None = None

    def __post_init__(self) -> None:
        for name in self.operator_names:
            resolve_operator(name)
        check_names("grid", self.grid, [*GRIDS, ALL])
        check_names("path", self.paths, PATHS)
        if len(set(self.operator_names)) != len(self.operator_names):
            raise ValueError(f"operators {self.operators!r} received; needed: each once")
        for field, least in (("rounds", 2), ("batch_size", 1)):
            if getattr(self, field) < least:
                raise ValueError(f"{field} = {getattr(self, field)} received; needed: at least {least}")
        if not self.width > 0:
            raise ValueError(f"width = {self.width} received; needed: a positive number")

    @property
    def operator_names(self) -> list[str]:
        """The operators, in the order given."""
        return split(self.operators)

    @property
    def path_names(self) -> list[str]:
        """The paths, in the order given."""
        return split(self.paths)

    @property
    def cases(self) -> list[tuple[str, Case]]:
        """Every case with the name of its grid, in the order in which they are measured."""
        names = split(self.grid)
        names = list(GRIDS) if ALL in names else names
        return [(name, case) for name in names for case in GRIDS[name](self.batch_size, self.width)]


def split(names: str) -> list[str]:
    """Names that commas separate."""
    return [name.strip() for name in names.split(",")]


def check_names(kind: str, names: str, known: Collection[str]) -> None:
    """Refuse names that are not known or stand twice.

    Raises:
        ValueError: there are such.
    """
    given = split(names)
    for name in given:
        if name not in known:
            raise ValueError(unknown(kind, name, list(known)))
    if len(set(given)) != len(given):
        raise ValueError(f"{kind} {names!r} received; needed: each once")
