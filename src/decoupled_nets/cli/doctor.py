"""``decoupled doctor``: what is installed, and what is found."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from .._environment import environment
from ..data import DataConfig, load_data
from ..functional import ddf, decoupled_conv2d
from ..nn import DDF2d, DecoupledConv2d
from ..ops.backend import VARIABLE, last_backend
from ..ops.decoupled import cpu, triton
from ..ops.decoupled.angle import angles
from ..ops.decoupled.magnitude import magnitudes

USAGE = """usage: decoupled doctor

Print versions, threads, devices, kernels and the data found, and what does not work."""


def main(argv: Sequence[str]) -> None:
    """Print a table of findings, and a verdict: what does not work, and what to do."""
    if list(argv) in (["-h"], ["--help"]):
        print(USAGE)
        return
    if argv:
        raise ValueError(f"{' '.join(argv)!r} received; needed: no options")
    table = Table(title="decoupled doctor", show_header=False)
    for name, finding in findings():
        table.add_row(name, finding)
    Console().print(table)
    Console().print(verdict(list(problems())), highlight=False, markup=False, soft_wrap=True)


def verdict(found: Sequence[str]) -> str:
    """One line where all is well, else the problems, each on a line of its own."""
    if not found:
        return "everything works"
    return "\n".join([f"{len(found)} problem{'s' if len(found) > 1 else ''}:", *(f"  - {p}" for p in found)])


def problems() -> Iterator[str]:
    """What does not work here, each with what to do."""
    tried = choices()
    for name, device, backend, reason in tried:
        if backend in ("composed", "none"):
            how = "do not run" if backend == "none" else "run without their kernels, slower,"
            what = f"{name} {how} on {device} ({reason})"
            yield f"{what}; {_advice(device, reason)}"
    refused = {device for _, device, backend, _ in tried if backend == "none"}
    for device in _devices():
        if device not in refused and (failure := _failure(device)) is not None:
            yield f"layers fail on {device} ({failure}); install torch again, then the package"
    root = os.environ.get("DECOUPLED_DATA")
    if root and not Path(root).is_dir():
        yield f"DECOUPLED_DATA is {root}, which is no folder; create it, or set the variable to another"


def _advice(device: str, reason: str) -> str:
    if "asked for" in reason or VARIABLE in reason:
        return f"unset {VARIABLE}"
    if device == "cpu":
        return "install a C++ compiler, then the package again"
    if "capability" in reason:
        return "a card of compute capability 8.0 or newer has them"
    if "triton" in reason.lower() and ("No module" in reason or "not installed" in reason):
        return "pip install triton"
    return "install a C compiler and a triton that fits this torch"


def _failure(device: str) -> str | None:
    """What goes wrong when small layers run forward and backward and are compared with float64."""
    try:
        for layer in (DecoupledConv2d(4, 8, 3, padding=1, radius=1.0), DDF2d(4)):
            x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
            wanted = copy.deepcopy(layer).double()(x.double())
            found = layer.to(device)(x.to(device))
            found.sum().backward()
            if not torch.allclose(found.cpu().double(), wanted, rtol=1e-2, atol=1e-2):
                return f"{type(layer).__name__} gives wrong numbers"
    except Exception as error:  # whatever a driver or a damaged installation raises
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _devices() -> list[str]:
    return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]


def findings() -> Iterator[tuple[str, str]]:
    """Pairs of a subject and what was found."""
    for name, value in environment().items():
        yield name, ", ".join(value) or "none" if isinstance(value, list) else str(value)
    yield from _backends()
    yield "processors", str(os.cpu_count())
    yield "Apple GPU", "yes" if torch.backends.mps.is_available() else "no"
    yield "magnitudes", ", ".join(magnitudes)
    yield "angles", ", ".join(angles)
    yield "angles with kernels", _angles_with_kernels()
    sample = load_data(DataConfig())
    sizes = f"{sample.train_size:,} + {sample.val_size:,} + {sample.test_size:,}"
    yield "embedded sample", f"{sample.name}, {sizes} images (training, validation, test)"
    root = os.environ.get("DECOUPLED_DATA")
    yield "DECOUPLED_DATA", "not set" if not root else _listing(Path(root))


def _angles_with_kernels() -> str:
    """The angular functions that each backend's kernels know."""
    known = {"cpu": cpu.ANGLES, "cuda": triton.ANGLES}
    return "; ".join(f"{device}: {', '.join(names) or 'none'}" for device, names in known.items())


def _backends() -> Iterator[tuple[str, str]]:
    """What each operation runs on here, and why."""
    tried = choices()
    for name in dict.fromkeys(operation for operation, *_ in tried):
        found = [
            f"{device}: {backend} ({why})" for operation, device, backend, why in tried if operation == name
        ]
        yield name, "; ".join(found)


def choices() -> list[tuple[str, str, str, str]]:
    """Operation, device, backend and its reason: each operation tried on every device there is."""
    calls: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "decoupled convolutions": lambda one: decoupled_conv2d(one, one),
        "dynamic filters": lambda one: ddf(one, one, one),
    }
    found = []
    for name, call in calls.items():
        for device in _devices():
            try:
                with torch.no_grad():
                    call(torch.ones(1, 1, 1, 1, device=device))
            except ValueError as error:  # a backend was asked for that cannot run here
                found.append((name, device, "none", str(error)))
                continue
            last = last_backend()
            assert last is not None
            found.append((name, device, last.backend, last.reason))
    return found


def _listing(root: Path) -> str:
    if not root.is_dir():
        return f"{root}: no such folder"
    return f"{root}: {', '.join(sorted(p.name for p in root.iterdir())) or 'empty'}"
