"""The Triton kernels: right under the interpreter, and accepted by the compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_in_the_interpreter():
    pytest.importorskip("triton")
    script = Path(__file__).with_name("run_ddf_triton.py")
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "checked", done.stderr


@pytest.mark.parametrize("ones", [(), ("C", "G", "H", "OH", "STRIDE_H", "STRIDE_W", "STEP_H", "STEP_W")])
@pytest.mark.parametrize("name", ["_forward", "_by_input", "_by_spatial", "_by_channel"])
def test_for_a_graphics_processor(name, ones, monkeypatch, tmp_path):
    """Down to machine code, which takes no such processor; arguments that are 1 become constants."""
    triton = pytest.importorskip("triton")
    compiler = pytest.importorskip("triton.compiler")
    backends = pytest.importorskip("triton.backends.compiler")
    from decoupled_nets.ops.dynamic import triton_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_kernels, name)
    values = {"OW": 7, "W": 7, "KH": 3, "KW": 5, "ADD": False, "ACC": triton.language.float32}
    values |= {"PIXELS": 64, "CHANNELS": 16} | dict.fromkeys(ones, 1)
    signature, constants = {}, {}
    for i, parameter in enumerate(kernel.params):
        fixed = parameter.is_constexpr or parameter.name in ones
        tensor = parameter.name in ("x", "grad", "channel", "spatial", "out")
        signature[parameter.name] = "constexpr" if fixed else "*bf16" if tensor else "i32"
        if fixed:
            constants[(i,)] = values[parameter.name]
    source = compiler.ASTSource(kernel, signature, constants)
    compiled = triton.compile(source, target=backends.GPUTarget("cuda", 80, 32))
    assert compiled.asm["cubin"]
