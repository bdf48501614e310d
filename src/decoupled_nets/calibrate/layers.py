"""Single layers while batches pass: what they saw so far sets what they give from here on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..nn import DecoupledLinear
from ..nn.operator import RADIUS_FLOOR, DecoupledMixin
from ..ops.norms import accumulation_dtype, vector_norm


class Moments:
    """Mean and standard deviation of channels over everything seen."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Any = 0.0
        self.squares: Any = 0.0

    def add(self, outputs: Tensor, layer: nn.Module) -> None:
        """Take in what a layer gave."""
        wide = _channels_last(outputs, layer).double().flatten(0, -2)
        self.count += len(wide)
        self.sum = self.sum + wide.sum(0)
        self.squares = self.squares + wide.square().sum(0)

    @property
    def mean(self) -> Tensor:
        """(O,), in float64."""
        return self.sum / max(self.count, 1)

    @property
    def deviation(self) -> Tensor:
        """(O,), in float64."""
        return (self.squares / max(self.count, 1) - self.mean.square()).clamp(min=0).sqrt()


def _channels_last(outputs: Tensor, layer: nn.Module) -> Tensor:
    if isinstance(layer, nn.Linear):
        return outputs.reshape(-1, outputs.shape[-1])
    return outputs.movedim(-len(layer.kernel_size) - 1, -1)  # type: ignore[arg-type]


class Calibrating:
    """One layer while batches pass: what it has seen so far sets what it gives from here on."""

    def __init__(self, layer: Any, wanted: Moments, radius: float | None) -> None:
        self.layer, self.wanted, self.radius = layer, wanted, radius
        self.seen = Moments()
        self.norm = 0.0
        self.count = 0
        self.bias = layer._parameters.get("bias")  # None, too, if it is parametrised
        self.kept = layer.bias if self.bias is None else None
        kernels = len(layer.weight)
        layer.scale = layer.weight.new_ones(kernels, dtype=accumulation_dtype(layer.weight.dtype))

    def before(self, layer: Any, args: tuple[Any, ...]) -> None:
        """Set the radius by the patches that came, and let the bare response through."""
        norms = patch_norms(layer, args[0])
        total = self.norm * self.count + float(norms.sum(dtype=torch.float64))
        self.count += norms.numel()
        self.norm = total / max(self.count, 1)
        if layer.relative is not None:
            layer.mean_norm.fill_(self.norm)
            layer.num_updates.fill_(1000)  # an average like this one is not to be forgotten in a few steps
        if self.radius is not None and isinstance(layer.radius, nn.Parameter):
            unit = 1.0 if layer.relative is not None else self.norm
            layer.radius.fill_(math.sqrt(max(self.radius * unit - RADIUS_FLOOR, RADIUS_FLOOR)))
        layer.scale.fill_(1.0)
        if self.bias is not None:
            self.bias.zero_()

    def after(self, layer: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Set scale and bias by the responses so far, and give what the layer would give with them."""
        response = output if self.kept is None else output - self._column(self.kept, output)
        self.seen.add(response, layer)
        had, wanted = self.seen.deviation, self.wanted.deviation
        alive = (had > 1e-12) & (wanted > 1e-12)
        scale = torch.where(alive, wanted / had.clamp(min=1e-12), 1.0).to(layer.scale.dtype)
        layer.scale.copy_(scale)
        bias = self.kept
        if self.bias is not None:
            self.bias.copy_(self.wanted.mean - self.seen.mean * scale)
            bias = self.bias
        response = response * self._column(scale, output)
        return (response if bias is None else response + self._column(bias, output)).to(output.dtype)

    def _column(self, value: Tensor, output: Tensor) -> Tensor:
        dims = 0 if isinstance(self.layer, nn.Linear) else len(self.layer.kernel_size)
        return value.view(-1, *[1] * dims)


class Averaging:
    """One BatchNorm while batches pass: averages anew, unless it computes before every decoupled layer."""

    def __init__(self, norm: Any, layers: list[Calibrating]) -> None:
        self.norm, self.layers, self.momentum = norm, layers, norm.momentum
        self.anew: bool | None = None

    def before(self, norm: Any, args: tuple[Any, ...]) -> None:
        """Begin, the first time, and use the batch's own statistics."""
        if self.anew is None:
            self.anew = any(layer.count for layer in self.layers)
            if self.anew:
                norm.reset_running_stats()
                norm.momentum = None  # the average over all batches
        if self.anew:
            norm.train()

    def end(self) -> None:
        """Leave it in evaluation, with the momentum it had."""
        self.norm.momentum = self.momentum
        self.norm.eval()


def patch_norms(layer: Any, input: Tensor) -> Tensor:
    """``sqrt(Σ x² + eps)`` of every patch that a decoupled layer sees."""
    if isinstance(layer, DecoupledLinear):
        return vector_norm(input, layer.eps)
    squares = input.to(accumulation_dtype(input.dtype)).square()
    ones = squares.new_ones(layer.groups, *layer.weight.shape[1:])
    return (layer._conv_forward(squares, ones, None) + layer.eps).sqrt()


@contextmanager
def kept_on_failure(modules: list[Any]) -> Iterator[None]:
    """Undo what was set if not all of it could be."""
    small = [t for m in modules for t in (*m.parameters(False), *m.buffers(False)) if t.dim() < 2]
    copies = [t.clone() for t in small]
    try:
        yield
    except BaseException:
        for tensor, copy in zip(small, copies, strict=True):
            tensor.copy_(copy)
        for module in modules:
            if isinstance(module, DecoupledMixin):
                module.scale = None
        raise
