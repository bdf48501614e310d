"""The formats: how a program is written, and how the file is run.

Whoever runs a file needs the runtime of its format, and nothing of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

Runner = Callable[[Tensor], Tensor]
#: Libraries whose ops a program may call; sizes are computed by Python's operators.
_STANDARD = {"aten", "prims", "prim"}


@dataclass(frozen=True)
class Format:
    """One format.

    Args:
        suffix: of its files.
        write: puts a program into a file.
        run: opens a file.
        needs: packages that must be there.
    """

    suffix: str
    write: Callable[[ExportedProgram, Path], None]
    run: Callable[[Path], Runner]
    needs: tuple[str, ...] = ()


def _write_onnx(program: ExportedProgram, path: Path) -> None:
    from onnxscript import optimizer

    # Not the whole optimiser: its patterns take minutes for a deep network, and runtimes have theirs.
    made = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False)
    assert made is not None
    foreign = sorted({node.domain for node in made.model.graph} | {f[0] for f in made.model.functions} - {""})
    if any(foreign):
        raise ValueError(f"operators of {foreign} found in the ONNX graph; needed: standard ones only")
    optimizer.fold_constants(made.model)
    optimizer.remove_unused_nodes(made.model)
    for node in made.model.graph:
        node.metadata_props.clear()  # lines of code, and where they lie on this machine
    made.save(path)


def _run_onnx(path: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (name,) = [value.name for value in session.get_inputs()]

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: images.numpy()})[0])

    return run


def _write_pt2(program: ExportedProgram, path: Path) -> None:
    with path.open("wb") as file:
        torch.export.save(program, file)


def _run_pt2(path: Path) -> Runner:
    with path.open("rb") as file:
        return torch.export.load(file).module()


def _write_aoti(program: ExportedProgram, path: Path) -> None:
    from torch._inductor import aoti_compile_and_package

    aoti_compile_and_package(program, package_path=str(path))


def _run_aoti(path: Path) -> Runner:
    from torch._inductor import aoti_load_package

    return aoti_load_package(str(path))


FORMATS = {
    "onnx": Format(".onnx", _write_onnx, _run_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "pt2": Format(".pt2", _write_pt2, _run_pt2),
    "aoti": Format(".aoti.pt2", _write_aoti, _run_aoti),
}


def check_ops(program: ExportedProgram) -> None:
    """Refuse a program that calls ops of other libraries than torch's, our compiled kernels among them.

    Raises:
        ValueError: it does.
    """
    targets: set[Any] = {n.target for n in program.graph.nodes if n.op == "call_function"}
    found = {getattr(target, "namespace", None) for target in targets} - {None, *_STANDARD}
    if found:
        raise ValueError(f"ops of {sorted(map(str, found))} found in the program; needed: torch's own only")
