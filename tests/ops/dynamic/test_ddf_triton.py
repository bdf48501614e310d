"""The Triton kernels: right under the interpreter, compiled once for all sizes, and short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from decoupled_nets.ops.dynamic.call import DynamicForm

pytest.importorskip("triton")
POINTERS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def test_in_the_interpreter():
    script = Path(__file__).with_name("run_ddf_triton.py")
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "checked", done.stderr


def launches(shape, heads, stride, dtype, last):
    """The three kernels' launches for a window of 3×3, and where their shares go."""
    from decoupled_nets.ops.dynamic import triton_launch

    out = tuple(-(-n // s) for n, s in zip(shape[2:], stride, strict=True))
    form = DynamicForm.of((3, 3), stride, (1, 1), "mul")
    problem = triton_launch._Problem(*shape[:2], heads, shape[2:], out, form, dtype, last, last)
    both, _, blocks = triton_launch._by_filters(problem)
    wide = ("channel", "by_channel", *(["by_spatial"] if blocks > 1 else []))
    return [triton_launch._sum(problem, False), triton_launch._sum(problem, True), both], wide


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_few_instructions_and_no_spills(last, monkeypatch, tmp_path):
    """For each element and tap, with everything around the loops; the last kernel's by its innermost loop."""
    from triton_code import compiled, counted

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    every, wide = launches((32, 64, 56, 56), 1, (1, 1), torch.bfloat16, last)
    for launch, bound in zip(every, (6, 6, 11) if last else (7, 7, 12), strict=True):
        code = launch.code
        found = counted(compiled(launch.kernel, code, "bf16", wide), tmp_path)
        elements = code["PIXELS"] * code["CHANNELS"] * code["ROWS"] / (32 * code["num_warps"])
        taps = code.get("TOGETHER", 9)
        length = found.instructions if "TOGETHER" not in code else found.inner
        assert length / elements / taps <= bound, (launch.kernel, found)
        assert found.registers <= 168
        assert found.spills <= 20, (launch.kernel, found)  # of some 1500 instructions


@pytest.mark.slow
@pytest.mark.parametrize("dtype", POINTERS)
@pytest.mark.parametrize(("width", "stride", "last"), [(1, (1, 1), True), (16, (2, 2), False)])
def test_every_kernel_compiles(dtype, width, stride, last, monkeypatch, tmp_path):
    """A width of 1 is a constant; in a plane every element is read by itself, whatever the stride."""
    from triton_code import compiled

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    every, wide = launches((2, 4 * width, 18, 20), 4, stride, dtype, last)
    for launch in every:
        found = compiled(launch.kernel, launch.code, POINTERS[dtype], wide, ones=width == 1)
        assert found.asm["cubin"]
        if not last:
            bits = 8 * dtype.itemsize
            # Four numbers at once are the channel filter's, in float32.
            assert f"ld.global.b{bits}" in found.asm["ptx"]
            assert f"ld.global.v2.b{bits}" not in found.asm["ptx"]
            assert bits == 32 or "ld.global.b32" not in found.asm["ptx"]


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_one_compilation_serves_all_widths(last, monkeypatch):
    """Counted as Triton does it, by what it makes code for: types, alignments and constants."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import make_backend
    from triton.runtime.jit import create_function_from_signature

    from decoupled_nets.ops.dynamic import triton_launch

    backend, keys = make_backend(GPUTarget("cuda", 90, 32)), set()

    def key_of(launch, *tensors):
        kernel = launch.kernel
        bind = create_function_from_signature(kernel.signature, kernel.params, backend)
        _, special, options = bind(*tensors, *launch.sizes, **launch.code, debug=False)
        keys.add((kernel.__name__, str(special), str(options)))

    monkeypatch.setattr(triton_launch._Launch, "__call__", key_of)
    for height, width in ((56, 56), (57, 61), (64, 100), (33, 224), (112, 48)):
        x, channel = torch.empty(2, 16, height, width), torch.empty(2, 16, 3, 3)
        spatial = torch.empty(2, 9, height, width)
        format = torch.channels_last if last else torch.contiguous_format
        x, spatial = (t.contiguous(memory_format=format) for t in (x, spatial))
        form = DynamicForm.of((3, 3), 1, 1, "mul")
        triton_launch.backward(triton_launch.forward(x, channel, spatial, form), x, channel, spatial, form)
    assert len(keys) == 3, keys
