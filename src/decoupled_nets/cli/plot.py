"""``decoupled plot``: pictures of operators, and of the filters that a trained network generates."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure
from torch import Tensor

from .._files import write_atomically
from ..data.decode import read_image
from ..ops.decoupled.angle import angles
from ..ops.decoupled.magnitude import magnitudes
from ..ops.decoupled.operator import resolve_operator
from ..reports import figures
from ..reports.filters import generated_filters
from ..tasks import find_task
from ..training import load_config, load_network
from ..training.folder import origin, origin_differences
from ..training.network import load_origin
from ..training.run import announce
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


@dataclass(frozen=True)
class FiltersConfig:
    """What to draw.

    Args:
        checkpoint: Checkpoint of a network with dynamic filters, such as `runs/mine/best.ckpt`.
        image: Number of a test image of the data it was trained on, or an image file.
        layer: Name of the layer of dynamic filters (default: the first).
        positions: Pixels whose filters are shown.
        channels: Channels whose filters are shown.
        theme: Colours.
        plugin: Python file or module that registers operators or makes the network; imported first.

    Raises:
        ValueError: a number is below 1.
    """

    checkpoint: str
    image: str = "0"
    layer: str | None = None
    positions: int = 5
    channels: int = 4
    theme: Literal["light", "dark"] = "light"
    plugin: str | None = None

    def __post_init__(self) -> None:
        for name in ("positions", "channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} received; needed: at least 1")


def main(argv: Sequence[str]) -> None:
    """Draw what the first argument names."""
    subject = argv[0] if argv and not argv[0].startswith("-") else None
    if subject is None and argv and argv[0] in ("-h", "--help"):
        subject = "operators"
    else:
        argv = argv[1:]
    choose("subject", subject, {"operators": operators, "filters": filters})(argv)


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
    _write(folder, drawn)


def filters(argv: Sequence[str]) -> None:
    """Draw the filters that a trained network generates for an image."""
    options = Options(
        "plot filters", "Draw the spatial and channel filters that a network generates.", FiltersConfig
    )
    given = options.parse(argv)
    config = options.build(given, argv)
    network = load_network(config.checkpoint)
    image = _image(config)
    generated = generated_filters(network, image, config.layer, config.positions, config.channels)
    _write(Path(given.out or "runs/plots"), {"filters.png": figures.dynamic_filters(generated, config.theme)})


def _image(config: FiltersConfig) -> Tensor:
    """(C, H, W), pixels in [0, 1]."""
    trained = load_config(config.checkpoint)
    data = find_task(trained.task).load(trained.data)
    announce(data)
    if not config.image.isdigit():
        deep = data.found.pixel_range if data.found.bits > 8 else None
        return read_image(Path(config.image), data.in_chans, data.image_size, deep)
    then = load_origin(config.checkpoint)
    now = origin(
        data, config.plugin if "plugin" in then else None
    )  # it may be the file that makes the network
    for difference in origin_differences(now, then):
        print(f"Not what the network was trained on: {difference}", file=sys.stderr)
    return data.test_image(int(config.image))[0][0]


def _write(folder: Path, drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        image = figures.png(figure)
        print(write_atomically(folder / name, lambda file, image=image: file.write(image)))  # type: ignore[misc]
