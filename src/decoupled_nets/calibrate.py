"""``decoupled_nets.calibrate``: a converted network starts from the response of the plain one."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .convert.dynamic import REPLACES
from .convert.engine import evaluating
from .convert.report import align
from .convert.twins import as_plain
from .nn import DecoupledLinear
from .nn.operator import RADIUS_FLOOR, DecoupledMixin
from .ops.norms import accumulation_dtype, vector_norm

_BATCH_NORM = nn.modules.batchnorm._BatchNorm
LONG = 10.0  # seconds from which on progress is shown


@dataclass(frozen=True)
class Distance:
    """How far a network's outputs are from another's.

    Attributes:
        error: root mean square difference, in units of the standard deviation of the other's outputs
            between inputs: 1 is as far as one input's output from another's.
        agreement: how many inputs have the same largest output, between 0 and 1; None if outputs are not
            (B, classes).
    """

    error: float
    agreement: float | None

    def __str__(self) -> str:
        agreement = "" if self.agreement is None else f", same class for {100 * self.agreement:.1f} %"
        return f"error {self.error:.3f}{agreement}"


@dataclass(frozen=True)
class CalibratedLayer:
    """What calibration set in one layer.

    Attributes:
        name: its qualified name.
        mean_norm: mean patch norm.
        radius: mean effective radius in units of it, or None for a magnitude without one.
        scale: smallest and largest of its channels.
    """

    name: str
    mean_norm: float
    radius: float | None
    scale: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """What :func:`decoupled_nets.calibrate` did; printed, it is a table.

    Attributes:
        layers: the decoupled layers in the order in which they compute.
        unused: names of those that no batch reached; they are as they were.
        before: distance of the converted network's outputs from the plain one's.
        after: the same after calibration.
    """

    layers: tuple[CalibratedLayer, ...]
    unused: tuple[str, ...]
    before: Distance
    after: Distance

    def __str__(self) -> str:
        """One row a layer."""
        rows: list[Sequence[Any]] = [("layer", "mean patch norm", "radius", "scale")]
        for layer in self.layers:
            radius = "–" if layer.radius is None else f"{layer.radius:.2f}×"
            scale = "{:.3g} to {:.3g}".format(*layer.scale)
            rows.append((layer.name, f"{layer.mean_norm:.3g}", radius, scale))
        lines = [*align(rows), f"before: {self.before}", f"after: {self.after}"]
        if self.unused:
            lines.append(f"reached by no batch: {', '.join(self.unused)}")
        return "\n".join(lines)


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    radius: float | None = 2.0,
    reference: nn.Module | None = None,
    max_batches: int = 16,
) -> Calibration:
    """Set scales and radii of a converted network so that it starts from the plain network's response.

    Call it between :func:`convert` and training. In the order in which they compute, every decoupled layer
    gets the mean norm of its patches as they come from the calibrated layers before it, and, channel by
    channel, a factor (the buffer ``scale``, part of the state dict) and a bias, if it has one, with which
    its outputs have the spread and the mean they have in the plain network. BatchNorms get their running
    statistics anew, averaged over the batches; so use batches as large as in training. Parameters other than
    biases and, with `radius`, learned radii are not touched; modes stay as they are.

    Args:
        model: a network with decoupled layers.
        batches: what goes into the network: tensors, or tuples or lists whose first entry is one, as loaders
            give them; they are brought to the model's device.
        radius: sets learned radii, relative or absolute, to so many mean patch norms. The larger, the nearer
            an operator such as tanh or ball is to the plain response, and the farther its bound. None keeps
            what they are.
        reference: the network to start from, with modules of the same names; None takes `model` itself with
            plain layers.
        max_batches: how many are taken at most; their inputs and outputs are kept in memory.

    Returns:
        What was set, and how far the outputs are from the reference's, before and after.

    Raises:
        ValueError: there is no decoupled layer or no batch, `radius` is not positive, or the plain network
            cannot be had from the model, because it was calibrated before or has dynamic filters.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.Flatten()
        ... )
        >>> _ = dn.convert(model, "tanh-cos")
        >>> report = dn.calibrate(model, [torch.rand(16, 3, 7, 7) for _ in range(4)])
        >>> report.after.error < 0.2 < report.before.error
        True
    """
    layers = [module for module in model.modules() if isinstance(module, DecoupledMixin)]
    _check(model, layers, radius, reference)
    inputs = _inputs(batches, max_batches, model)
    names = {module: name for name, module in model.named_modules()}
    with torch.no_grad(), evaluating(model), _progress(4 * len(inputs)) as step:
        plain = model if reference is None else reference
        twins = {layer: layer if reference is None else _named(reference, names[layer]) for layer in layers}
        with evaluating(plain), as_plain(layers) if reference is None else nullcontext():
            wanted, expected = _observe(plain, twins, inputs, step)
        before = _distance(_outputs(model, inputs, step), expected)
        reached = _adjust(model, wanted, inputs, radius, step)
        after = _distance(_outputs(model, inputs, step), expected)
    return Calibration(
        tuple(_summary(names[layer], layer, norm) for layer, norm in reached.items()),
        tuple(names[layer] for layer in layers if layer not in reached),
        before,
        after,
    )


class _Moments:
    """Mean and standard deviation of channels over everything seen."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Any = 0.0
        self.squares: Any = 0.0

    def add(self, outputs: Tensor, layer: nn.Module) -> None:
        wide = _channels_last(outputs, layer).double().flatten(0, -2)
        self.count += len(wide)
        self.sum = self.sum + wide.sum(0)
        self.squares = self.squares + wide.square().sum(0)

    @property
    def mean(self) -> Tensor:
        return self.sum / max(self.count, 1)

    @property
    def deviation(self) -> Tensor:
        return (self.squares / max(self.count, 1) - self.mean.square()).clamp(min=0).sqrt()


def _channels_last(outputs: Tensor, layer: nn.Module) -> Tensor:
    if isinstance(layer, nn.Linear):
        return outputs.reshape(-1, outputs.shape[-1])
    return outputs.movedim(-len(layer.kernel_size) - 1, -1)  # type: ignore[arg-type]


def _observe(
    model: nn.Module, twins: dict[DecoupledMixin, nn.Module], inputs: list[Tensor], step: Callable[[], None]
) -> tuple[dict[DecoupledMixin, _Moments], list[Tensor]]:
    """Moments of what plain layers give, and the network's outputs."""
    moments: dict[DecoupledMixin, _Moments] = {}

    def hook(layer: DecoupledMixin) -> Callable[..., None]:
        def observe(module: nn.Module, _: Any, output: Tensor) -> None:
            moments.setdefault(layer, _Moments()).add(output, module)

        return observe

    handles = [twin.register_forward_hook(hook(layer)) for layer, twin in twins.items()]
    try:
        return moments, _outputs(model, inputs, step)
    finally:
        for handle in handles:
            handle.remove()


def _adjust(
    model: nn.Module,
    wanted: dict[DecoupledMixin, _Moments],
    inputs: list[Tensor],
    radius: float | None,
    step: Callable[[], None],
) -> dict[DecoupledMixin, float]:
    """Calibrate layer after layer while the batches pass; the mean patch norm of every layer reached."""
    norms: list[Any] = [m for m in model.modules() if isinstance(m, _BATCH_NORM) and m.track_running_stats]
    with _kept_on_failure([*wanted, *norms]), ExitStack() as stack:
        states = {layer: _Calibrating(layer, moments, radius) for layer, moments in wanted.items()}
        for layer, state in states.items():
            stack.callback(layer.register_forward_pre_hook(state.before).remove)
            stack.callback(layer.register_forward_hook(state.after).remove)
        for norm in norms:
            stack.callback(_end_averaging, norm, norm.momentum, dict(norm.named_buffers()))
            norm.running_mean, norm.running_var = norm.running_mean.clone(), norm.running_var.clone()
            norm.num_batches_tracked = torch.zeros_like(norm.num_batches_tracked)
            norm.momentum = None  # the average over all batches
            norm.train()
        _outputs(model, inputs, step)
    return {layer: state.norm for layer, state in states.items() if state.count}


def _end_averaging(norm: Any, momentum: float | None, had: dict[str, Tensor]) -> None:
    """Put what a BatchNorm has averaged into the buffers that it had, if any batch reached it."""
    for name, buffer in had.items():
        if norm.num_batches_tracked > 0 or name == "num_batches_tracked":
            buffer.copy_(getattr(norm, name))
        setattr(norm, name, buffer)
    norm.momentum = momentum
    norm.eval()


@contextmanager
def _kept_on_failure(modules: list[Any]) -> Iterator[None]:
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


class _Calibrating:
    """One layer while batches pass: what it has seen so far sets what it gives from here on."""

    def __init__(self, layer: Any, wanted: _Moments, radius: float | None) -> None:
        self.layer, self.wanted, self.radius = layer, wanted, radius
        self.seen = _Moments()
        self.norm = 0.0
        self.count = 0
        self.bias = layer._parameters.get("bias")  # None, too, if it is parametrised
        self.kept = layer.bias if self.bias is None else None
        kernels = len(layer.weight)
        layer.scale = layer.weight.new_ones(kernels, dtype=accumulation_dtype(layer.weight.dtype))

    def before(self, layer: Any, args: tuple[Any, ...]) -> None:
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


def patch_norms(layer: Any, input: Tensor) -> Tensor:
    """``sqrt(Σ x² + eps)`` of every patch that a decoupled layer sees."""
    if isinstance(layer, DecoupledLinear):
        return vector_norm(input, layer.eps)
    squares = input.to(accumulation_dtype(input.dtype)).square()
    ones = squares.new_ones(layer.groups, *layer.weight.shape[1:])
    return (layer._conv_forward(squares, ones, None) + layer.eps).sqrt()


def _summary(name: str, layer: Any, norm: float) -> CalibratedLayer:
    radius = None
    if layer.operator.uses_radius:
        effective = layer.effective_radius(layer.weight.new_tensor(norm, dtype=torch.float64))
        radius = float(torch.as_tensor(effective).detach().mean()) / norm
    return CalibratedLayer(name, norm, radius, (float(layer.scale.min()), float(layer.scale.max())))


def _outputs(model: nn.Module, inputs: list[Tensor], step: Callable[[], None]) -> list[Tensor]:
    """The first tensor that the network gives for every batch."""
    outputs = []
    for batch in inputs:
        outputs.append(next(leaf for leaf in tree_leaves(model(batch)) if isinstance(leaf, Tensor)))
        step()
    return outputs


def _distance(outputs: list[Tensor], expected: list[Tensor]) -> Distance:
    actual, wanted = torch.cat(outputs).double(), torch.cat(expected).double()
    spread = (wanted - wanted.mean(0)).square().mean().sqrt()
    error = float((actual - wanted).square().mean().sqrt() / spread.clamp(min=1e-12))
    if wanted.dim() != 2 or wanted.shape[1] < 2:
        return Distance(error, None)
    return Distance(error, float((actual.argmax(1) == wanted.argmax(1)).double().mean()))


def _check(
    model: nn.Module, layers: list[DecoupledMixin], radius: float | None, reference: nn.Module | None
) -> None:
    if not layers:
        raise ValueError("a network without decoupled layers received; convert(model) makes them")
    if radius is not None and not 0 < radius < math.inf:
        raise ValueError(f"radius = {radius} received, a positive number needed")
    if reference is not None:
        return
    if any(layer.scale is not None for layer in layers):
        raise ValueError(
            "a calibrated network received: its biases and BatchNorms are not the plain network's any more; "
            "give that one as reference="
        )
    if any(REPLACES in module.__dict__ for module in model.modules()):
        raise ValueError("a network with dynamic filters received: give the plain network as reference=")


def _named(reference: nn.Module, name: str) -> nn.Module:
    try:
        return reference.get_submodule(name)
    except AttributeError:
        raise ValueError(f"reference has no module {name!r}, which the model has") from None


def _inputs(batches: Iterable[Any], limit: int, model: nn.Module) -> list[Tensor]:
    if isinstance(batches, Tensor):
        raise ValueError("one tensor received as batches, several needed: [tensor] for a single batch")
    device = next((p.device for p in model.parameters()), None)
    taken = []
    for batch in itertools.islice(batches, limit):
        first = batch[0] if isinstance(batch, tuple | list) else batch
        if not isinstance(first, Tensor):
            raise ValueError(
                f"a batch that is or begins with {type(first).__name__} received, a tensor needed"
            )
        taken.append(first.to(device))
    if not taken:
        raise ValueError("no batch received, at least one needed")
    return taken


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A function that counts passes, and shows progress once it will take long."""
    start, done = time.monotonic(), itertools.count(1)
    with ExitStack() as stack:
        shown: list[Any] = []

        def step() -> None:
            n = next(done)
            if shown:
                shown[0].advance()
            elif n < total and (time.monotonic() - start) / n * total > LONG and n >= 2:
                from ._progress import Progress

                shown.append(stack.enter_context(Progress(total, "calibration")))
                shown[0].advance(n)

        yield step
