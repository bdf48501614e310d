"""Triton's kernels compiled for an H100 on a machine without one, and what the machine code is like."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction


class _Driver:
    """Answers for a card that is not there."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> Any:
        import torch

        return torch.device("cuda", 0)

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty


@contextmanager
def compiled_launches(monkeypatch: Any) -> Iterator[list[tuple[str, Any, dict[str, Any]]]]:
    """Inside, a launch compiles its kernel and runs nothing; gives (name, compiled kernel, constants)."""
    found: list[tuple[str, Any, dict[str, Any]]] = []
    monkeypatch.setattr(driver, "_active", _Driver(), raising=False)
    monkeypatch.setattr(driver, "active", _Driver(), raising=False) if not hasattr(
        type(driver), "active"
    ) else None

    def launch(kernel: JITFunction, grid: Any) -> Any:
        def run(*arguments: Any, **constants: Any) -> None:
            found.append(
                (
                    kernel.__name__,
                    kernel.warmup(*arguments, grid=grid, **constants),
                    {**constants, "grid": grid},
                )
            )

        return run

    monkeypatch.setattr(JITFunction, "__getitem__", launch)
    yield found


def machine_code(compiled: Any, folder: Path) -> dict[str, int]:
    """Registers, bytes of spills, and instructions of a kernel without those behind its end."""
    binary = folder / "kernel.cubin"
    binary.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    usage = _output(tool, "-res-usage", binary)
    code = _output(tool, "-sass", binary)
    instructions = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ +)?([A-Z][A-Z0-9_.]*)", code)
    return {
        "registers": int(re.search(r"REG:(\d+)", usage)[1]),  # type: ignore[index]
        "spills": sum(name.startswith(("STL", "LDL")) for name in instructions),
        "instructions": sum(not name.startswith(("NOP", "BRA")) for name in instructions),
        "wide": sum(".128" in name for name in instructions if name.startswith(("LDG", "STG"))),
        "memory": sum(name.startswith(("LDG", "STG")) for name in instructions),
    }


def _output(*command: Any) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
