"""Networks as files that run without this package: ONNX, torch.export programs, compiled libraries."""

from .network import Exported, export_network
from .quantize import quantize_onnx

__all__ = ["Exported", "export_network", "quantize_onnx"]
