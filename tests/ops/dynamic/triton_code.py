"""Compiles Triton kernels for a GPU that need not be there, and counts in the machine code."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

_TENSORS = {"x", "grad", "channel", "spatial", "out", "by_channel", "by_spatial"}
_OPTIONS = ("num_warps", "maxnreg")
_INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", re.MULTILINE)


@dataclass(frozen=True)
class Code:
    """Registers a thread, instructions that use the stack, instructions, and those of the innermost loop."""

    registers: int
    spills: int
    instructions: int
    inner: int | None


def compiled(
    kernel: Any, code: dict[str, Any], pointer: str, wide: tuple[str, ...], ones: bool = False
) -> Any:
    """Machine code for a compute capability of 9.0; tensors are aligned, a width divides by 16 or is 1."""
    signature, constants, attributes = {}, {}, {}
    for i, parameter in enumerate(kernel.params):
        name = parameter.name
        if parameter.is_constexpr or (ones and name == "WIDTH"):
            signature[name], constants[(i,)] = "constexpr", 1 if name == "WIDTH" else code[name]
        else:
            signature[name] = ("*fp32" if name in wide else f"*{pointer}") if name in _TENSORS else "i32"
            if name in _TENSORS or name == "WIDTH":
                attributes[(i,)] = [["tt.divisibility", 16]]
    options = {name: code[name] for name in _OPTIONS if name in code}
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


def counted(kernel: Any, folder: Path) -> Code:
    """What the machine code of a compiled kernel holds."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    file = folder / "kernel.cubin"
    file.write_bytes(kernel.asm["cubin"])

    def dump(option: str) -> str:
        done = subprocess.run([str(tool), option, str(file)], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    lines = [(int(at, 16), text) for at, text in _INSTRUCTION.findall(dump("-sass"))]
    lines = [(at, text) for at, text in lines if not text.startswith("NOP")]
    registers = re.search(r"REG:(\d+)", dump("-res-usage"))
    assert registers
    loops = []
    for at, text in lines:
        target = re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", text)
        if target and int(target[1], 16) < at:
            loops.append(sum(int(target[1], 16) <= place <= at for place, _ in lines))
    spills = sum(re.search(r"\b(STL|LDL)\b", text) is not None for _, text in lines)
    return Code(int(registers[1]), spills, len(lines), min(loops, default=None))
