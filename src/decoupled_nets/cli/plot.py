"""``decoupled plot``: pictures that need no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .._files import write_atomically
from ..ops.angle import angles
from ..ops.magnitude import magnitudes
from ..ops.operator import resolve_operator
from ..reports import figures
from .options import Options, choose


@dataclass(frozen=True)
class PlotConfig:
    """What to draw.

    Args:
        operators: Operators separated by commas; without it every magnitude and every angle is drawn.
        theme: Colours.
        plugin: Python file or module that registers operators; imported first.
    """

    operators: str | None = None
    theme: Literal["light", "dark"] = "light"
    plugin: str | None = None


def main(argv: Sequence[str]) -> None:
    """Draw what the first argument names."""
    subject = argv[0] if argv and not argv[0].startswith("-") else None
    if subject is None and argv and argv[0] in ("-h", "--help"):
        subject = "operators"
    else:
        argv = argv[1:]
    choose("subject", subject, {"operators": operators})(argv)


def operators(argv: Sequence[str]) -> None:
    """Draw h, g and the response over two-dimensional input."""
    options = Options("plot operators", "Draw magnitude and angular functions and responses.", PlotConfig)
    given = options.parse(argv)
    config = options.build(given, argv)
    folder = Path(given.out or "runs/plots")
    if config.operators:
        names = [name.strip() for name in config.operators.split(",")]
        for name in names:
            resolve_operator(name)
        functions = figures.functions(names, config.theme)
    else:
        names = [f"{m}-cos" for m in magnitudes] + [f"tanh-{a}" for a in angles if a != "cos"]
        functions = figures.operators_overview(config.theme)
    drawn = {"functions.png": functions, "geometry.png": figures.operator_geometry(names, config.theme)}
    for name, figure in drawn.items():
        image = figures.png(figure)
        print(write_atomically(folder / name, lambda file, image=image: file.write(image)))  # type: ignore[misc]
