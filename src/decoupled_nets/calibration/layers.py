"""Single layers while batches pass: what they saw so far sets what they give from here on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..nn import DecoupledLinear
from ..nn.operator import RADIUS_FLOOR, DecoupledMixin
from ..ops.decoupled.composed import apply_operator
from ..ops.norms import accumulation_dtype, kernel_norm, vector_norm
from .learned import has_learned, shared, start_of
from .radius import Norms

Radius = float | Literal["auto"] | None


@dataclass(frozen=True)
class Aim:
    """How radii are set: to so many mean norms, or to keep the response within a tolerance, or not at all.

    Attributes:
        radius: as :func:`calibrate` has it.
        tolerance: likewise.
        keeps: whether layers keep the average of their norms: what they give is near what is wanted already.
    """

    radius: Radius
    tolerance: float
    keeps: bool = False


class Moments:
    """Mean and standard deviation of channels, over everything seen or over the first so many calls."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Any = 0.0
        self.squares: Any = 0.0
        self.calls: list[Moments] = []

    def add(self, outputs: Tensor, layer: nn.Module) -> None:
        """Take in what a layer gave."""
        wide = _channels_last(outputs, layer).double().flatten(0, -2)
        self.count += len(wide)
        self.sum = self.sum + wide.sum(0)
        self.squares = self.squares + wide.square().sum(0)

    def remember(self) -> None:
        """Keep what was seen so far for :meth:`until`."""
        now = Moments()
        now.count, now.sum, now.squares = self.count, self.sum, self.squares
        self.calls.append(now)

    def until(self, call: int) -> Moments:
        """What was seen up to a call, counted from 0."""
        return self.calls[min(call, len(self.calls) - 1)] if self.calls else self

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
    """One layer while batches pass: what it has seen so far sets what it gives from here on.

    Args:
        layer: a decoupled layer.
        wanted: what the plain layer gave, call by call.
        aim: how its radius is set.
        behind: normalisations whose running mean, of the plain network, takes what a bias would.
    """

    def __init__(
        self, layer: Any, wanted: Moments, aim: Aim, behind: Sequence[tuple[Any, Tensor]] = ()
    ) -> None:
        self.layer, self.wanted, self.aim = layer, wanted, aim
        self.seen, self.norms, self.calls = Moments(), Norms(), 0
        self.error: float | None = None
        self.starts: Tensor | None = None  # radii of a learned magnitude (G,), in mean norms of their patches
        self.had_learned = has_learned(layer)
        self.bias = layer._parameters.get("bias")  # None, too, if it is parametrised
        self.kept = layer.bias if self.bias is None else None
        self.behind = behind if self.bias is None else ()
        kernels = len(layer.weight)
        layer.scale = layer.weight.new_ones(kernels, dtype=accumulation_dtype(layer.weight.dtype))

    @property
    def reached(self) -> bool:
        """Whether a patch came."""
        return self.norms.reached

    def before(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Set the radius by the patches that came, and let the bare response through."""
        self.norms.add(by_group(layer, patch_norms(layer, args[0] if args else kwargs["input"])))
        if self.reached and not self.aim.keeps and layer.relative is not None:
            layer.mean_norm.fill_(self.norms.mean)
            layer.num_updates.fill_(1000)  # an average like this one is not to be forgotten in a few steps
        if self.reached and self.aim.radius is not None:
            self._set_radius(layer, self.aim.radius)
        layer.scale.fill_(1.0)
        self.expected = torch.ones_like(layer.scale)
        if not self.aim.keeps:
            self.expected = plain_factor(layer, self.norms).to(layer.scale.dtype)
        if self.bias is not None:
            self.bias.zero_()

    def _set_radius(self, layer: Any, radius: float | str) -> None:
        bends = bends_at(layer)
        start = start_of(layer, self.norms.means, bends)
        if start is None and not isinstance(layer.radius, nn.Parameter):
            return
        if isinstance(radius, str):
            floor = 2 * math.sqrt(layer.eps)
            wanted, self.error = self.norms.keeping(start or layer.operator, self.aim.tolerance, floor)
            if wanted is None:
                return
        else:
            wanted = torch.full_like(self.norms.means, radius * self.norms.mean)
        if start is not None:
            wanted = shared(wanted, len(layer.h_parameters))
            rows = start.rows(wanted, len(layer.h_parameters))
            if bool(rows.isfinite().all()):  # a function may be 0 at the mean norm: it stays as it is then
                self.starts = wanted / self.norms.means
                layer.h_parameters.copy_(rows)
            return
        per_kernel = wanted.repeat_interleave(len(layer.radius) // len(wanted)) * bends
        unit = self.norms.mean if layer.relative is not None else 1.0
        layer.radius.copy_((per_kernel / unit - RADIUS_FLOOR).clamp(min=RADIUS_FLOOR).sqrt())

    def after(self, layer: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Set scale and bias by the responses so far, and give what the layer would give with them."""
        response = output if self.kept is None else output - self._column(self.kept, output)
        # In units of the plain response: radii move from call to call, and bare responses with them.
        self.seen.add(response * self._column(self.expected, output), layer)
        # Of the same inputs on both sides: of few images, moments of others would be another measure.
        wanted = self.wanted.until(self.calls)
        self.calls += 1
        alive = (self.seen.deviation > 1e-12) & (wanted.deviation > 1e-12)
        ratio = wanted.deviation / self.seen.deviation.clamp(min=1e-12)
        ratio = torch.where(alive, ratio, 1.0).to(layer.scale.dtype)
        scale = layer.scale.copy_(self.expected * ratio)
        shift = self.seen.mean * ratio - wanted.mean
        bias = self.kept
        if self.bias is not None:
            self.bias.copy_(-shift)
            bias = self.bias
        for norm, mean in self.behind:
            norm.running_mean.copy_(mean + shift)
        response = response * self._column(scale, output)
        return (response if bias is None else response + self._column(bias, output)).to(output.dtype)

    def _column(self, value: Tensor, output: Tensor) -> Tensor:
        dims = 0 if isinstance(self.layer, nn.Linear) else len(self.layer.kernel_size)
        return value.view(-1, *[1] * dims)


def patch_norms(layer: Any, input: Tensor) -> Tensor:
    """``sqrt(Σ x² + eps)`` of every patch that a decoupled layer sees."""
    if isinstance(layer, DecoupledLinear):
        return vector_norm(input, layer.eps)
    squares = input.to(accumulation_dtype(input.dtype)).square()
    ones = squares.new_ones(layer.groups, *layer.weight.shape[1:])
    return (layer._conv_forward(squares, ones, None) + layer.eps).sqrt()


def by_group(layer: Any, norms: Tensor) -> Tensor:
    """Values of patches: (B, G, *S), (G, *S) or (..., 1) to (G, N)."""
    if isinstance(layer, nn.Linear):
        return norms.reshape(1, -1)
    return norms.movedim(-len(layer.kernel_size) - 1, 0).flatten(1)


def bends_at(layer: Any) -> Tensor | float:
    """A kernel's radius in units of the patch norm at which ``h`` bends for it: (O,), or 1."""
    if layer.weighting != "product":  # h(‖w‖‖x‖)
        return 1.0
    return kernel_norm(getattr(layer, "effective_weight", lambda: layer.weight)(), layer.eps).double()


def plain_factor(layer: Any, norms: Norms) -> Tensor:
    """The factor that makes a layer's response the plain one, as near as can be, at angles of 0: (O,).

    What norms and kernels say of the scale: the one of channels that gave nothing in these batches.
    """
    kernels = len(layer.weight)
    if not norms.reached:
        return layer.scale.new_ones(kernels)
    weight = layer.weight if isinstance(layer, nn.Linear) else layer.effective_weight()
    size = kernel_norm(weight, layer.eps).double()[:, None]
    radius = torch.as_tensor(layer.effective_radius(norms.bins), device=size.device).double().view(-1, 1)
    k = layer.effective_k()
    response = apply_operator(
        norms.bins, norms.bins, size, layer.operator,
        radius=radius, weighting=layer.weighting, k=k if k is None else k.double()[:, None],
        h_parameters=_per_kernel(layer, layer.h_parameters), fan_in=layer.weight[0].numel(),
        g_parameters=_per_kernel(layer, layer.g_parameters),
    ).broadcast_to(kernels, len(norms.bins))  # fmt: skip
    counts = norms.telling(2 * math.sqrt(layer.eps))
    counts = counts.repeat_interleave(kernels // len(counts), 0)
    like, square = (counts * norms.bins * response).sum(1), (counts * response.square()).sum(1)
    factor = size[:, 0] * like / square
    return torch.where((factor > 0) & factor.isfinite(), factor, 1.0)


def _per_kernel(layer: Any, parameters: Tensor | None) -> Tensor | None:
    """(N, P) to (O, 1, P), in float64."""
    if parameters is None:
        return None
    return parameters.double().repeat_interleave(len(layer.weight) // len(parameters), 0)[:, None]


@contextmanager
def kept_on_failure(model: nn.Module) -> Iterator[None]:
    """Undo what was set if not all of it could be."""
    named = (*model.named_parameters(), *model.named_buffers())
    small = [t for name, t in named if t.dim() < 2 or name.rpartition(".")[2] == "h_parameters"]
    copies = [t.clone() for t in small]
    scales = {m: m.scale for m in model.modules() if isinstance(m, DecoupledMixin)}
    try:
        yield
    except BaseException:
        for tensor, copy in zip(small, copies, strict=True):
            tensor.copy_(copy)
        for layer, scale in scales.items():
            layer.scale = scale
        raise
