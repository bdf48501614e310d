"""``decoupled bench``: the cost of decoupled convolution beside plain convolution."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .._environment import environment
from .._files import write_text
from .._progress import Progress
from ..bench.conv import PATHS, cnn9_cases, measure
from ..ops.operator import resolve_operator
from ..reports.results import to_plain
from .options import Options, choose


@dataclass(frozen=True)
class BenchConfig:
    """What to measure.

    Args:
        operators: Operators separated by commas.
        batch_size: Images.
        width: Multiplies the channels of CNN-9's layers.
        rounds: Interleaved rounds; medians over them are reported.
        radius: How the operators' radius is learned: "learned" or "relative".
        paths: Ways of computing them, separated by commas: "layer" (as a layer runs here), "composed" (of
            torch's operations), "released" (of those the paper's released code uses).
        plugin: Python file or module that registers operators; imported first.
    """

    operators: str = "tanh-cos,ball-cos,seg-sqcos"
    batch_size: int = 64
    width: float = 1.0
    rounds: int = 7
    radius: Literal["learned", "relative"] = "learned"
    paths: str = "layer"
    plugin: str | None = None

    def __post_init__(self) -> None:
        if self.rounds < 2:
            raise ValueError(f"rounds = {self.rounds} received, at least 2 needed")


def main(argv: Sequence[str]) -> None:
    """Measure what the first argument names."""
    subject = argv[0] if argv and not argv[0].startswith("-") else "conv"
    choose("benchmark", subject, {"conv": conv})(argv[1:] if subject in argv else argv)


def conv(argv: Sequence[str]) -> None:
    """Measure CNN-9's nine 3×3 layers."""
    options = Options("bench conv", "Measure decoupled convolution against nn.Conv2d.", BenchConfig)
    given = options.parse(argv)
    config = options.build(given, argv)
    names = [name.strip() for name in config.operators.split(",")]
    for name in names:
        resolve_operator(name)
    paths = [choose("path", path.strip(), {p: p for p in PATHS}) for path in config.paths.split(",")]
    folder = Path(given.out or "runs/bench")
    console = Console()
    table = Table(
        title=f"Time relative to nn.Conv2d at batch {config.batch_size}: median of rounds (quartiles)",
        box=SIMPLE_HEAD,
    )
    for heading in ("3×3 layer", "convolution", "forward", "forward + backward", "kept"):
        table.add_column(heading)
    measured = []
    cases = cnn9_cases(config.batch_size, config.width)
    with Progress(len(cases), "bench conv") as progress:
        for case in cases:
            for one in measure(case, names, config.rounds, config.radius, paths):
                measured.append(one)
                ratios = [f"{r.median:.2f} ({r.low:.2f}-{r.high:.2f})" for r in (one.forward, one.both)]
                table.add_row(str(case), one.convolution, *ratios, f"{one.kept:.2f}")
            progress.advance()
    console.print(table)
    text = json.dumps({"environment": environment(), "measured": to_plain(measured)}, indent=1)
    console.print(f"Written: {write_text(folder / 'conv.json', text)}", soft_wrap=True, highlight=False)
