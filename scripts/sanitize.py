"""Runs every CPU kernel once under the address and the undefined-behaviour sanitizer: `make sanitize`.

The binary is built once more with them, into build/sanitize; then the cases of the kernels' tests go through
it, in one process for each instruction set that the machine has. A tensor's memory ends where its last
element does, so that an access behind it is seen, used or not. First it is shown that faults are seen: in a
small program, and by tensors that claim more memory than they have. Without a compiler, CMake or the
sanitizers it says so and does nothing; where the environment variable CI is set, that is a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "sanitize"
COMPILER = os.environ.get("CXX", "c++")
FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
#: What ATEN_CPU_CAPABILITY calls an instruction set, and what the kernels call it.
LEVELS = {"default": "baseline", "avx2": "avx2", "": "avx512"}
FOLDERS = ("decoupled", "dynamic")
#: A program with one fault or the other, and what the sanitizers say of it.
FAULTY = """
int main(int count, char**) {
  int* const row = new int[4]();
#ifdef READ
  return row[count + 3];
#else
  return row[0] + (1 << (count + 31));
#endif
}
"""
FAULTS = {"READ": "heap-buffer-overflow", "SHIFT": "shift exponent 32 is too large"}


def main() -> int:
    """Builds, proves, runs; returns the exit status."""
    if why := missing():
        print(f"the kernels were not run under the sanitizers: {why}")
        return int("CI" in os.environ)
    build()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        proofs = [pool.submit(run, "prove", folder) for folder in FOLDERS]
        sweeps = [pool.submit(run, "sweep", level) for level in LEVELS]
    failed = False
    for folder, proof in zip(FOLDERS, proofs, strict=True):
        said = proof.result().stdout
        if "ERROR: AddressSanitizer" not in said or f"csrc/{folder}/cpu/" not in said:
            print(f"{folder}: a read behind the end of a tensor was not seen\n{said}")
            failed = True
    for sweep in sweeps:
        print(sweep.result().stdout, end="")
        failed = failed or sweep.result().returncode != 0
    return int(failed)


def missing() -> str | None:
    """Why the sanitizers cannot be used here; None if they can."""
    for program in (COMPILER, "cmake"):
        if not shutil.which(program):
            return f"there is no {program}"
    if runtime("asan") is None:
        return f"{COMPILER} has no libasan.so that Python could start with"
    BUILD.mkdir(parents=True, exist_ok=True)
    source, program = BUILD / "faulty.cpp", BUILD / "faulty"
    source.write_text(FAULTY)
    for fault, said in FAULTS.items():
        command = [COMPILER, *FLAGS, f"-D{fault}", str(source), "-o", str(program)]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            return f"{COMPILER} does not know {FLAGS[0]}: {made.stderr.strip()}"
        if said not in subprocess.run([program], capture_output=True, text=True).stderr:
            return f"a program with a fault runs under {FLAGS[0]} without the message {said!r}"
    return None


def runtime(name: str) -> str | None:
    """The shared library of the compiler by that name."""
    command = [COMPILER, f"-print-file-name=lib{name}.so"]
    path = Path(subprocess.run(command, capture_output=True, text=True).stdout.strip())
    return str(path) if path.is_absolute() and path.exists() else None


def build() -> None:
    """Compiles the binary with the sanitizers."""
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        raise SystemExit("torch is not installed: the kernels are built with its headers")
    headers = Path(torch.origin).parent / "include"
    options = [
        "-DDECOUPLED_SANITIZE=ON",
        f"-DTORCH_INCLUDE_DIR={headers}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    make = ["cmake", "--build", str(BUILD), "--parallel", str(os.cpu_count())]
    for command in (["cmake", "-S", str(ROOT), "-B", str(BUILD), *options], make):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise SystemExit(done.stdout)


def run(task: str, argument: str) -> subprocess.CompletedProcess[str]:
    """This script once more, in a process whose memory the sanitizer watches from the start."""
    # Exceptions are thrown through the C++ library, which has to be there when the sanitizer looks for it.
    libraries = filter(None, (runtime("asan"), runtime("stdc++")))
    changes = {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python and torch keep what they have to the end
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    if task == "sweep" and argument:
        changes["ATEN_CPU_CAPABILITY"] = argument
    kept = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    return subprocess.run(
        [sys.executable, __file__, task, argument],
        env=kept | changes,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def use_the_binary() -> Any:
    """Imports the library with the binary of build/sanitize; returns its operations."""
    import torch

    spec = importlib.util.find_spec("decoupled_nets")
    if spec is None or spec.loader is None or spec.submodule_search_locations is None:
        raise SystemExit("decoupled_nets is not installed")
    spec.submodule_search_locations.insert(0, str(BUILD))
    package = importlib.util.module_from_spec(spec)
    sys.modules["decoupled_nets"] = package
    spec.loader.exec_module(package)

    from decoupled_nets.ops import backend

    if backend.status.path is None or backend.status.path.parent != BUILD:
        raise SystemExit(f"the binary in {BUILD} is not used: {backend.status}")
    sys.path += [str(ROOT / "tests" / "ops" / folder) for folder in FOLDERS]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return torch.ops.decoupled_nets


def sweep(level: str) -> None:
    """Calls every operation with every case of its tests."""
    ops = use_the_binary()
    import torch

    found = ops.cpu_capability()
    if found != LEVELS[level]:
        print(f"this machine does not have {LEVELS[level]}")
        return
    called: dict[str, int] = {}

    def call(name: str, *arguments: Any) -> Any:
        called[name] = called.get(name, 0) + 1
        return getattr(ops, name)(*arguments)

    for calls in (patch_norms, epilogues, radials, dynamic_filters):
        calls(call)
    registered = torch._C._dispatch_get_registrations_for_dispatch_key("CPU")
    wanted = {name.removeprefix("decoupled_nets::") for name in registered if "decoupled_nets::" in name}
    if wanted != set(called):
        raise SystemExit(f"operations without a case here: {sorted(wanted ^ set(called))}")
    print(f"{found}: nothing found in {sum(called.values())} calls of {len(called)} operations")


Call = Callable[..., Any]


def patch_norms(call: Call) -> None:
    """Norms of patches and their backward."""
    import kernel_cases as cases
    import torch

    for name, dtype, last in product(cases.GEOMETRIES, cases.DTYPES, (False, True)):
        x, geometry, groups = cases.geometry_case(name, dtype, last)
        norm = call("patch_norm", x, *geometry.windows, groups, 1e-4)
        grad = torch.randn_like(norm)
        call("patch_norm_backward", grad, x, norm, *geometry.windows)
        call("patch_norm_backward_", torch.randn_like(x), grad, x, norm, *geometry.windows)


def epilogues(call: Call) -> None:
    """The epilogue of every magnitude and angle, and its backward by either value."""
    import kernel_cases as cases
    import torch

    for operator, name, dtype, last in product(cases.OPERATORS, cases.OUTPUTS, cases.DTYPES, (False, True)):
        tensors, response = cases.epilogue_case(name, *operator, dtype, last, bias=True)
        out = call("epilogue", *tensors, *response.arguments)
        call("epilogue_", tensors[0].clone(), *tensors[1:], *response.arguments)
        grad = torch.randn_like(out)
        given = (*tensors[1:5], *tensors[6:])
        for from_output in (False, True) if cases.angles[operator[1]].invertible else (False,):
            value = out if from_output else tensors[0]
            call("epilogue_backward", grad, value, *given, *response.arguments, from_output)


def radials(call: Call) -> None:
    """The values of learned magnitudes, also where a norm is none, and their backward."""
    import torch

    shapes = ((2, 3, 5, 7), (1, 1, 40, 40), (0, 2, 3), (4, 2), (1, 2, 3, 4, 5))
    kinds = {"power": 1, "spline": 16}
    radii = (1.3, -2.0, 0.0, -1e-5, float("inf"), float("nan"))
    types = (torch.float32, torch.float64)
    for shape, dtype, (kind, count), radius in product(shapes, types, kinds.items(), radii):
        norm = torch.rand(shape, dtype=dtype) * 5 + 1e-2
        if norm.numel() > 8:
            norm.view(-1)[:4] = torch.tensor([float("nan"), float("inf"), 0.0, 1e-40], dtype=dtype)
        given = norm, torch.randn(shape[1], count, dtype=dtype), torch.tensor(radius, dtype=dtype), kind
        call("radial", *given)
        call("radial_backward", torch.randn_like(norm), *given)


def filterings() -> Iterator[tuple[Any, ...]]:
    """The geometries of the tests, one image in several parts, and rows so long that each is a band."""
    import ddf_inputs as cases

    yield from cases.GEOMETRIES.values()
    for stride in ((1, 1), (2, 2)):
        yield (1, 40, 24, 30), 2, (3, 3), stride, (1, 1)
        yield (1, 2, 4, 1000), 1, (3, 3), stride, (1, 1)


def dynamic_filters(call: Call) -> None:
    """Dynamic filters and their gradients."""
    import ddf_inputs as cases
    import torch

    for geometry, combine, dtype, last in product(filterings(), cases.COMBINES, cases.DTYPES, (False, True)):
        tensors, form = cases.make_of(*geometry, combine, dtype, last)
        out = call("ddf", *tensors, *form.values())
        call("ddf_backward", torch.randn_like(out), *tensors, *form.values())


def prove(folder: str) -> None:
    """Lets a kernel read a tensor that claims one row more than it has."""
    ops = use_the_binary()
    import numpy as np
    import torch

    rows = np.ones((1, 4, 20, 20), dtype=np.float32)
    x = torch.from_numpy(
        np.lib.stride_tricks.as_strided(rows, (1, 4, 21, 20), (rows.itemsize * 1680, 1680, 80, 4))
    )
    if folder == "decoupled":
        ops.patch_norm(x, [1, 1], [1, 1], [0] * 4, [1, 1], 1, 0.0)
    else:
        ops.ddf(x, torch.ones(1, 4, 1, 1), torch.ones(1, 1, 21, 20), [1, 1], [1, 1], "mul")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        raise SystemExit(main())
    {"sweep": sweep, "prove": prove}[sys.argv[1]](sys.argv[2])
