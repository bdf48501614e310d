"""``decoupled doctor``: what is installed, and what is found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from .._environment import environment
from ..data import DataConfig, load_data
from ..ops import gpu
from ..ops.angle import angles
from ..ops.magnitude import magnitudes


def main(argv: Sequence[str]) -> None:
    """Print a table of findings."""
    if list(argv) in (["-h"], ["--help"]):
        print("usage: decoupled doctor\n\nPrint versions, threads, devices, kernels and the data found.")
        return
    if argv:
        raise ValueError(f"{' '.join(argv)!r} received; needed: no options")
    table = Table(title="decoupled doctor", show_header=False)
    for name, finding in findings():
        table.add_row(name, finding)
    Console().print(table)


def findings() -> Iterator[tuple[str, str]]:
    """Pairs of a subject and what was found."""
    for name, value in environment().items():
        yield name, ", ".join(value) or "none" if isinstance(value, list) else str(value)
    yield "processors", str(os.cpu_count())
    yield "decoupled layers on GPUs", gpu.description()
    yield "Apple GPU", "yes" if torch.backends.mps.is_available() else "no"
    yield "magnitudes", ", ".join(magnitudes)
    yield "angles", ", ".join(angles)
    sample = load_data(DataConfig())
    sizes = f"{sample.train_size:,} + {sample.val_size:,} + {sample.test_size:,}"
    yield "embedded sample", f"{sample.name}, {sizes} images (training, validation, test)"
    root = os.environ.get("DECOUPLED_DATA")
    yield "DECOUPLED_DATA", "not set" if not root else _listing(Path(root))


def _listing(root: Path) -> str:
    if not root.is_dir():
        return f"{root}: no such folder"
    return f"{root}: {', '.join(sorted(p.name for p in root.iterdir())) or 'empty'}"
