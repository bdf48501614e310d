"""``decoupled export``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..evaluation.trained import load_trained
from ..export import export_network
from ..export.formats import FORMATS
from ..export.network import Exported, FormatName
from .options import Options


@dataclass(frozen=True)
class ExportConfig:
    """How a trained network is exported.

    Args:
        format: `onnx`, `pt2` (a program of torch.export) or `aoti` (compiled for this processor).
        fuse: Precompute what does not depend on the input.
        image_size: Height and width in pixels to export at; by default those it was trained on.
        dynamic_size: Whether height and width stay open, as the batch size does; by default where possible.
        plugin: Python file or module that registers operators or makes the network; imported first.
    """

    format: FormatName = "onnx"
    fuse: bool = True
    image_size: int | None = None
    dynamic_size: bool | None = None
    plugin: str | None = None


def main(argv: Sequence[str]) -> None:
    """Export one network, run the file, and say how it compares."""
    options = Options(
        "export",
        "Write a trained network as a file that runs elsewhere.",
        ExportConfig,
        out="File to write (default: beside the checkpoint, named like it).",
    )
    options.parser.add_argument(
        "checkpoint", type=str, help="A checkpoint, a training run's folder, or a folder of save_pretrained."
    )
    given = options.parse(argv)
    config = options.build(given, argv)
    trained = load_trained(given.checkpoint)
    size = trained.image_size if config.image_size is None else (config.image_size,) * 2
    path = Path(given.out) if given.out else _beside(Path(given.checkpoint), config.format)
    done = export_network(
        trained.network, path, config.format, in_chans=trained.in_chans, image_size=size, fuse=config.fuse,
        dynamic_size=config.dynamic_size,
    )  # fmt: skip
    Console().print(report(done), soft_wrap=True, highlight=False)


def _beside(place: Path, format: FormatName) -> Path:
    folder, stem = (place, "network") if place.is_dir() else (place.parent, place.stem)
    return folder / f"{stem}{FORMATS[format].suffix}"


def report(done: Exported) -> str:
    """The result in words."""
    sizes = "batch, height and width" if done.dynamic_size else f"batch (height and width: {done.reason})"
    shapes = ", ".join("×".join(map(str, shape)) for shape in done.shapes)
    speed = done.speed
    return (
        f"Written to {done.path} ({done.path.stat().st_size / 1e6:.1f} MB)\n"
        f"Open sizes: {sizes}\n"
        f"Run on {shapes}: largest difference {done.difference:.2g}, outputs up to {done.scale:.2g}\n"
        f"Time relative to eager mode, batch 8: {speed.median:.2f} "
        f"(quartiles {speed.low:.2f}–{speed.high:.2f})"
    )
