"""From a network to a file that was run and compared."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from .._measure import Ratio, interleaved_ratios
from .._registry import unknown
from ..fusion import fuse as fuse_layers
from .formats import FORMATS, Format, Runner, check_ops

FormatName = Literal["onnx", "pt2", "aoti"]
#: Largest difference allowed, relative to the largest output: float32 rounding through a deep network.
TOLERANCE = 1e-3
#: The same for types of fewer digits.
_TOLERANCES = {torch.float16: 1e-2, torch.bfloat16: 5e-2}
#: Layers, timm's and ours, whose padding is reckoned from the size of the image.
_SIZE_DEPENDENT = {
    "Conv2dSame", "StdConv2dSame", "ScaledStdConv2dSame", "AvgPool2dSame", "MaxPool2dSame",
    "DecoupledConv2dSame", "DecoupledStdConv2dSame",
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """What was exported and what the file gave when it was run.

    Attributes:
        path: the file.
        format: ``"onnx"``, ``"pt2"`` or ``"aoti"``.
        fused: whether layers were fused before.
        dynamic_size: whether height and width are open, as the batch size always is.
        reason: why height and width are fixed, or "".
        shapes: inputs on which the file was run.
        difference: largest absolute difference to the network in eager mode.
        scale: largest absolute output of that.
        speed: its time relative to the network in eager mode, unfused: below 1 is faster.
    """

    path: Path
    format: FormatName
    fused: bool
    dynamic_size: bool
    reason: str
    shapes: list[tuple[int, ...]]
    difference: float
    scale: float
    speed: Ratio


def export_network(
    model: nn.Module,
    path: str | Path,
    format: FormatName = "onnx",
    *,
    in_chans: int = 3,
    image_size: int | tuple[int, int] = (32, 32),
    fuse: bool = True,
    dynamic_size: bool | None = None,
    rounds: int = 15,
) -> Exported:
    """Write a network as a file, run the file on two batch sizes, and compare.

    The batch size stays open; height and width do, too, where the network's code allows.

    Args:
        model: in evaluation mode, from images (B, in_chans, H, W) to one tensor.
        path: the file; it is written only if it computes what the network does.
        format: ``"onnx"``, ``"pt2"`` (a program of torch.export) or ``"aoti"`` (compiled ahead of time for
            this machine's processor, which needs a C++ compiler).
        in_chans: channels of the images.
        image_size: height and width to export at; a number for both.
        fuse: compute ahead what does not depend on the input; see :func:`decoupled_nets.fuse`.
        dynamic_size: whether height and width are to be open; None tries, unless the padding of a layer
            depends on the size (TensorFlow's SAME), where trying may take minutes.
        rounds: how often to time file and network in turns.

    Returns:
        The largest difference and the speed relative to eager mode, and more.

    Raises:
        ValueError: the model is in training mode, is of several types or for ONNX not of float32, or gives
            something other than a tensor; the path is a folder; the format is unknown or its packages are
            missing; height and width cannot be open; or the file computes something else.

    Example:
        >>> import tempfile, decoupled_nets as dn
        >>> from decoupled_nets.export import export_network
        >>> model = dn.create_model("cnn9", num_classes=10, operator="tanh-cos", width=0.0625).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = export_network(model, f"{folder}/net.pt2", "pt2", dynamic_size=False, rounds=3)
        >>> done.shapes
        [(1, 3, 32, 32), (5, 3, 32, 32)]
        >>> done.difference < 1e-4
        True
    """
    if format not in FORMATS:
        raise ValueError(unknown("format", format, list(FORMATS)))
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    dtype = _check(model, format)
    missing = [name for name in FORMATS[format].needs if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"format = {format!r} received without {' and '.join(missing)}; needed: pip install "
            f"{' '.join(missing)}"
        )
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"path = {str(path)!r} received, a folder; needed: the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    inner = fuse_layers(model) if fuse else model
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    native = (in_chans, height, width)
    with torch.no_grad(), _quiet():
        reason = "as asked for"
        file: _File | None = None
        layer = _size_dependent(model) if dynamic_size is None else None
        if layer is not None:
            reason = f"the padding of {layer} depends on the size of the image"
        elif dynamic_size is not False:
            try:
                file = _write(model, inner, path, FORMATS[format], native, dtype, open_size=True)
            except Exception as error:  # whatever a network's own code does with sizes
                reason = _why_closed(error)
                if dynamic_size:
                    raise ValueError(f"height and width cannot be open: {reason}") from error
        open_size = file is not None
        file = file or _write(model, inner, path, FORMATS[format], native, dtype, open_size=False)
        run, batch = file.run, torch.rand(8, *native, dtype=dtype)
        _, speed = interleaved_ratios([lambda: model(batch), lambda: run(batch)], rounds)
    return Exported(
        path, format, fuse, open_size, "" if open_size else reason, file.shapes, file.difference, file.scale,
        speed,
    )  # fmt: skip


def _check(model: nn.Module, format: FormatName) -> torch.dtype:
    """The type of the model's numbers, which its images are to have."""
    if any(m.training for m in model.modules()):
        raise ValueError("a model in training mode received; needed: model.eval()")
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()} or {torch.float32}
    if len(dtypes) > 1:
        raise ValueError(f"a model of {' and '.join(sorted(map(str, dtypes)))} received; needed: one type")
    dtype = dtypes.pop()
    # onnxruntime has no convolutions of other types for processors.
    if format == "onnx" and dtype != torch.float32:
        raise ValueError(f"a model of {dtype} received; needed: float32 for onnx; model.float() makes it so")
    return dtype


def _why_closed(error: Exception) -> str:
    """Why a program with open height and width could not be made, or did not run."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if not first.startswith("Guard failed: "):
        return f"other sizes fail: {first}"
    condition = first.removeprefix("Guard failed: ")
    for axis, name in ((2, "height"), (3, "width")):
        condition = re.sub(rf"\w+\.size\(\)\[{axis}\]", name, condition)
    return f"torch.export makes a program for some sizes only, those with {condition}"


def _size_dependent(model: nn.Module) -> str | None:
    """The name of a layer whose padding depends on the size of the image."""
    for name, module in model.named_modules():
        if any(kind.__name__ in _SIZE_DEPENDENT for kind in type(module).__mro__):
            return f"{name} ({type(module).__name__})"
    return None


@dataclass(frozen=True)
class _File:
    """A file that was run: what runs it, and what came out."""

    run: Runner
    shapes: list[tuple[int, ...]]
    difference: float
    scale: float


def _write(
    model: nn.Module,
    inner: nn.Module,
    path: Path,
    kind: Format,
    native: tuple[int, int, int],
    dtype: torch.dtype,
    open_size: bool,
) -> _File:
    """Trace, write beside `path`, run, compare with `model`, and put the file in its place."""
    channels, height, width = native
    shapes: list[tuple[int, ...]]
    if open_size:
        # At twice the size no map is a single position, for which tracing would make exceptions.
        program = _traced(inner, torch.rand(2, channels, 2 * height, 2 * width, dtype=dtype), (0, 2, 3))
        shapes = [(1, *native), (5, channels, height + 11, width + 6)]
    else:
        program = _traced(inner, torch.rand(2, *native, dtype=dtype), (0,))
        shapes = [(1, *native), (5, *native)]
    check_ops(program)
    temporary = path.with_name(f".{path.name}.tmp{kind.suffix}")
    try:
        kind.write(program, temporary)
        run = kind.run(temporary)
        difference, scale = _compare(model, run, shapes, dtype)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return _File(run, shapes, difference, scale)


def _traced(model: nn.Module, example: Tensor, axes: tuple[int, ...]) -> ExportedProgram:
    return torch.export.export(model, (example,), dynamic_shapes=(dict.fromkeys(axes, Dim.DYNAMIC),))


def _compare(
    model: nn.Module, run: Runner, shapes: list[tuple[int, ...]], dtype: torch.dtype
) -> tuple[float, float]:
    difference = scale = 0.0
    for shape in shapes:
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
        expected = model(images)
        if not isinstance(expected, Tensor):
            raise ValueError(f"a model that gives a {type(expected).__name__} received; needed: one tensor")
        got = run(images)
        if got.shape != expected.shape or not bool(got.isfinite().all()):
            raise ValueError(
                f"the file gives {tuple(got.shape)} for {shape}; needed: finite numbers of shape "
                f"{tuple(expected.shape)}"
            )
        difference = max(difference, float((got - expected).abs().max()))
        scale = max(scale, float(expected.abs().max()))
    if difference > _TOLERANCES.get(dtype, TOLERANCE) * max(scale, 1e-3):
        raise ValueError(
            f"the file differs from the network by {difference:.3g}, outputs being up to {scale:.3g}"
        )
    return difference, scale


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' progress messages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
