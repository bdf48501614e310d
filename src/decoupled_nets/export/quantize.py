"""Weights and activations of an exported network in eight bits, by onnxruntime."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

OPERATORS = ["Conv", "Gemm", "MatMul"]


def quantize_onnx(source: str | Path, path: str | Path, images: Tensor, *, batch_size: int = 32) -> Path:
    """Convolutions and matrix products of an ONNX file in int8, weights by channel, activations by range.

    What makes a decoupled convolution of a plain one (patch norms, magnitude, angle) stays in float32.

    Args:
        source: a file of :func:`export_network`.
        path: the file to write.
        images: (N, C, H, W), of the kind the network will see: they give the ranges of the activations.
        batch_size: images at a time.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: there are no images.
    """
    from onnxruntime import quantization as q

    if len(images) == 0:
        raise ValueError("0 images received; needed: one or more, for the ranges of the activations")

    class Reader(q.CalibrationDataReader):
        def __init__(self, name: str) -> None:
            self.batches = ({name: batch.numpy()} for batch in images.split(batch_size))

        def get_next(self) -> Any:
            return next(self.batches, None)

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        q.shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        q.quantize_static(
            prepared, made, Reader(_input_name(prepared)), quant_format=q.QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=OPERATORS, activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8,
        )  # fmt: skip
        made.replace(path)
    return path


def _input_name(path: Path) -> str:
    import onnx

    graph = onnx.load(path).graph
    constants = {value.name for value in graph.initializer}
    return next(value.name for value in graph.input if value.name not in constants)
