"""The convolution's Triton kernels: right in the interpreter, cheap in machine code, one code for all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kernel_cases import arrange

pytest.importorskip("triton")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["norms", "epilogues", "radials", "special", "vanishing", "tanh"])
def test_in_the_interpreter(what):
    script = Path(__file__).with_name("run_triton_decoupled.py")
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, str(script), what], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "checked", done.stderr


WINDOWS = ([3, 3], [1, 1], [1] * 4, [1, 1])


@pytest.fixture
def launched(monkeypatch, tmp_path):
    """Launches compile their kernel for an H100, and run nothing."""
    from triton_compiled import compiled_launches

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    with compiled_launches(monkeypatch) as found:
        yield found


def launch_all(shape, last, magnitude="tanh", angle="cos", radius=True):
    from decoupled_nets.ops.decoupled import triton_launch as kernels

    x = arrange(torch.empty(shape, dtype=torch.bfloat16), last)
    norm, channels = torch.empty(shape[0], 1, *shape[2:]), torch.empty(shape[1])
    given = (norm, channels, None, channels if radius else None)
    kernels.patch_norm(x, *WINDOWS, 1, 1e-4)
    kernels.patch_norm_backward_(torch.empty_like(x), norm, x, norm, *WINDOWS)
    kernels.epilogue_(x, *given, None, None, None, magnitude, angle, 1.0, 1.0)
    for from_output in (True, False):
        kernels.epilogue_backward(x, x, *given, None, None, magnitude, angle, 1.0, 1.0, from_output)


#: registers, and instructions that run for 16 bytes of bfloat16 and more where the work is small
BOUNDS = {
    "square_sums": (64, 0), "scale_input": (64, 16), "epilogue": (80, 40), "epilogue_backward": (200, 100),
    "window_norms": (64, 0), "window_shares": (64, 0), "add_up": (64, 0),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("last", [True, False], ids=["last", "first"])
def test_machine_code(launched, tmp_path, last):
    """Registers, no spills, and instructions an element, those before and behind a tile's own included."""
    from triton_compiled import machine_code

    launch_all((32, 128, 32, 32), last)
    assert {name for name, *_ in launched} == set(BOUNDS)
    for name, compiled, constants in launched:
        code = machine_code(compiled, tmp_path)
        registers, instructions = BOUNDS[name]
        assert code["registers"] <= registers, (name, code)
        assert code["spills"] <= 2, (name, code)  # window_shares puts a number away, outside of its loops
        if name in ("square_sums", "scale_input", "epilogue", "epilogue_backward"):
            assert code["wide"] >= 4, (name, code)  # loads and stores of 16 bytes
        elements = constants.get("BP", 0) * constants.get("BC", 0) / 128
        if instructions:
            assert code["instructions"] / elements <= instructions, (name, code)


@pytest.mark.slow
@pytest.mark.parametrize(("angle", "registers"), [("power", 168), ("spline", 208)])
def test_machine_code_of_learned_halves(launched, tmp_path, angle, registers):
    """Their gradients' sums take registers, too; none is put away."""
    from triton_compiled import machine_code

    from decoupled_nets.ops.decoupled import triton_launch as kernels
    from decoupled_nets.ops.decoupled import triton_radial

    x = arrange(torch.empty((32, 128, 32, 32), dtype=torch.bfloat16), True)
    norm, channels = torch.empty(32, 1, 32, 32), torch.empty(128)
    learned = torch.empty_like(norm), torch.empty(1, 1 if angle == "power" else 4)
    given = norm, channels, channels, None
    kernels.epilogue_(x, *given, None, *learned, "given", angle, 1.0, 1.0)
    kernels.epilogue_backward(x, x, *given, *learned, "given", angle, 1.0, 1.0, False)
    of_h = norm, torch.empty(1, 1 if angle == "power" else 16), torch.empty(())
    triton_radial.radial(*of_h, angle)
    triton_radial.radial_backward(norm, *of_h, angle)
    bounds = {"epilogue": 136, "epilogue_backward": registers, "add_up": 64, "values": 64, "shares": 80}
    assert {name for name, *_ in launched} == set(bounds)
    for name, compiled, _ in launched:
        code = machine_code(compiled, tmp_path)
        assert code["registers"] <= bounds[name], (name, code)
        assert not code["spills"], (name, code)


@pytest.mark.slow
@pytest.mark.parametrize("last", [True, False], ids=["last", "first"])
def test_another_size_takes_the_same_code(launched, last):
    """Batch sizes, widths and channels, as long as rows of 16 bytes fit in and there is enough to do."""
    from triton.runtime.jit import JITFunction

    from decoupled_nets.ops.decoupled import triton_kernels

    kernels = [k for k in vars(triton_kernels).values() if isinstance(k, JITFunction)]
    launch_all((40, 128, 32, 32), last)
    before = {k.__name__: len(k.device_caches[0][0]) for k in kernels}
    assert before["epilogue_backward"] >= 2
    for shape in ((33, 128, 40, 32), (64, 256, 24, 31) if last else (64, 256, 24, 32), (40, 384, 48, 40)):
        launch_all(shape, last)
    assert {k.__name__: len(k.device_caches[0][0]) for k in kernels} == before
