"""``decoupled doctor``: what is installed, and what is found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from .._environment import environment
from ..data import DataConfig, load_data
from ..functional import ddf, decoupled_conv2d
from ..ops.backend import last_backend
from ..ops.decoupled.angle import angles
from ..ops.decoupled.magnitude import magnitudes


def main(argv: Sequence[str]) -> None:
    """Print a table of findings."""
    if list(argv) in (["-h"], ["--help"]):
        print("usage: decoupled doctor\n\nPrint versions, threads, devices, kernels and the data found.")
        return
    if argv:
        raise ValueError(f"{' '.join(argv)!r} received, no options needed")
    table = Table(title="decoupled doctor", show_header=False)
    for name, finding in findings():
        table.add_row(name, finding)
    Console().print(table)


def findings() -> Iterator[tuple[str, str]]:
    """Pairs of a subject and what was found."""
    for name, value in environment().items():
        yield name, ", ".join(value) or "none" if isinstance(value, list) else str(value)
    yield from _backends()
    yield "processors", str(os.cpu_count())
    yield "Apple GPU", "yes" if torch.backends.mps.is_available() else "no"
    yield "magnitudes", ", ".join(magnitudes)
    yield "angles", ", ".join(angles)
    sample = load_data(DataConfig())
    sizes = f"{sample.train_size:,} + {sample.val_size:,} + {sample.test_size:,}"
    yield "embedded sample", f"{sample.name}, {sizes} images (training, validation, test)"
    root = os.environ.get("DECOUPLED_DATA")
    yield "DECOUPLED_DATA", "not set" if not root else _listing(Path(root))


def _backends() -> Iterator[tuple[str, str]]:
    """What each operation runs on here, and why: tried on every device there is."""
    calls: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "decoupled convolutions": lambda one: decoupled_conv2d(one, one),
        "dynamic filters": lambda one: ddf(one, one, one),
    }
    for name, call in calls.items():
        found = []
        for device in ("cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))):
            with torch.no_grad():
                call(torch.ones(1, 1, 1, 1, device=device))
            last = last_backend()
            assert last is not None
            found.append(f"{device}: {last.backend} ({last.reason})")
        yield name, "; ".join(found)


def _listing(root: Path) -> str:
    if not root.is_dir():
        return f"{root}: no such folder"
    return f"{root}: {', '.join(sorted(p.name for p in root.iterdir())) or 'empty'}"
