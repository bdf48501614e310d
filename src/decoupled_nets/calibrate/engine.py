"""``decoupled_nets.calibrate``."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..convert.classes import as_plain
from ..convert.dynamic import REPLACES
from ..convert.engine import evaluating
from ..nn.operator import DecoupledMixin
from .layers import Averaging, Calibrating, Moments, kept_on_failure
from .report import CalibratedLayer, Calibration, distance

_BATCH_NORM = nn.modules.batchnorm._BatchNorm
LONG = 10.0  # seconds from which on progress is shown


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    radius: float | None = 2.0,
    reference: nn.Module | None = None,
    max_batches: int = 16,
    reset_batch_norm: bool = False,
) -> Calibration:
    """Set scales and radii of a converted network so that it starts from the plain network's response.

    Call it between :func:`convert` and training. In the order in which they compute, every decoupled layer
    gets the mean norm of its patches as they come from the calibrated layers before it, and, channel by
    channel, a factor (the buffer ``scale``, part of the state dict) and a bias, if it has one, with which
    its outputs have the spread and the mean they have in the plain network. So BatchNorms fit as
    they are, and stay. Parameters other than biases and, with `radius`, learned radii are not touched; modes
    stay as they are.

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
        reset_batch_norm: give BatchNorms that compute after the first decoupled layer their running
            statistics anew, averaged over the batches: for averages that did not belong to the data. It
            takes batches as large as in training; with few or small ones it makes the network worse.

    Returns:
        What was set, and how far the outputs are from the reference's, before and after.

    Raises:
        ValueError: there is no decoupled layer or no batch, a batch is empty or not finite, `radius` or
            `max_batches` is not positive, outputs differ in shape between batches, or the plain network
            cannot be had from the model, because it was calibrated before or has dynamic filters. The model
            is left as it was, here and below.
        TypeError: the network does not take batches of this type, or gives no tensor.

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
    model = getattr(model, "_orig_mod", model)  # of torch.compile, whose graphs would not suit the hooks
    layers = [module for module in model.modules() if isinstance(module, DecoupledMixin)]
    _check(model, layers, radius, reference)
    inputs = _inputs(batches, max_batches, model)
    names = {module: name for name, module in model.named_modules()}
    with torch.no_grad(), evaluating(model), _progress(4 * len(inputs)) as step:
        plain = model if reference is None else reference
        twins = {layer: layer if reference is None else _named(reference, names[layer]) for layer in layers}
        made_plain = as_plain(layers) if reference is None else nullcontext()
        with evaluating(plain), made_plain, _types_explained(plain, inputs):
            wanted, expected = _observe(plain, twins, inputs, step)
        _check_shapes(expected)
        for layer, moments in wanted.items():
            if not bool((moments.mean + moments.deviation).isfinite().all()):
                raise ValueError(f"the plain layer {names[layer]!r} gives infinities or NaN on these batches")
        before = distance(_outputs(model, inputs, step), expected)
        reached = _adjust(model, wanted, inputs, radius, reset_batch_norm, step)
        after = distance(_outputs(model, inputs, step), expected)
    return Calibration(
        tuple(_summary(names[layer], layer, norm) for layer, norm in reached.items()),
        tuple(names[layer] for layer in layers if layer not in reached),
        before,
        after,
    )


def _observe(
    model: nn.Module, twins: dict[DecoupledMixin, nn.Module], inputs: list[Tensor], step: Callable[[], None]
) -> tuple[dict[DecoupledMixin, Moments], list[Tensor]]:
    """Moments of what plain layers give, and the network's outputs."""
    moments: dict[DecoupledMixin, Moments] = {}

    def hook(layer: DecoupledMixin) -> Callable[..., None]:
        def observe(module: nn.Module, _: Any, output: Tensor) -> None:
            moments.setdefault(layer, Moments()).add(output, module)

        return observe

    handles = [twin.register_forward_hook(hook(layer)) for layer, twin in twins.items()]
    try:
        return moments, _outputs(model, inputs, step)
    finally:
        for handle in handles:
            handle.remove()


def _adjust(
    model: nn.Module,
    wanted: dict[DecoupledMixin, Moments],
    inputs: list[Tensor],
    radius: float | None,
    reset_batch_norm: bool,
    step: Callable[[], None],
) -> dict[DecoupledMixin, float]:
    """Calibrate layer after layer while the batches pass; the mean patch norm of every layer reached."""
    norms: list[Any] = []
    if reset_batch_norm:
        norms = [m for m in model.modules() if isinstance(m, _BATCH_NORM) and m.track_running_stats]
    with kept_on_failure([*wanted, *norms]), ExitStack() as stack:
        states = {layer: Calibrating(layer, moments, radius) for layer, moments in wanted.items()}
        for layer, state in states.items():
            stack.callback(layer.register_forward_pre_hook(state.before).remove)
            stack.callback(layer.register_forward_hook(state.after).remove)
        for norm in norms:
            averaging = Averaging(norm, list(states.values()))
            stack.callback(norm.register_forward_pre_hook(averaging.before).remove)
            stack.callback(averaging.end)
        _outputs(model, inputs, step)
    return {layer: state.norm for layer, state in states.items() if state.count}


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
        given = model(batch)
        first = next((leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)), None)
        if first is None:
            raise TypeError(f"an output of type {type(given).__name__} without a tensor received, one needed")
        outputs.append(first)
        step()
    return outputs


@contextmanager
def _types_explained(model: nn.Module, inputs: list[Tensor]) -> Iterator[None]:
    """Say so if batches of another type than the network's may be why it failed; some do take them."""
    needed = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    try:
        yield
    except RuntimeError as error:
        other = next((batch.dtype for batch in inputs if batch.dtype != needed), None)
        if needed is None or other is None:
            raise
        raise TypeError(
            f"batches of {other} received, which the network does not take; {needed} needed, normalised as "
            "for its training"
        ) from error


def _check_shapes(outputs: list[Tensor]) -> None:
    first = outputs[0].shape
    for output in outputs:
        if not output.dim() or output.shape[1:] != first[1:]:
            raise ValueError(
                f"outputs of shapes {tuple(first)} and {tuple(output.shape)} received, (B, ...) with the "
                "same ... for every batch needed: give batches of one size"
            )


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
            "a calibrated network received: its biases are not the plain network's any more; "
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
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"max_batches = {limit!r} received, a positive integer needed")
    if limit < 1:
        raise ValueError(f"max_batches = {limit} received, a positive integer needed")
    device = next((p.device for p in model.parameters()), None)
    taken = []
    for batch in itertools.islice(batches, limit):
        first = batch[0] if isinstance(batch, tuple | list) else batch
        if not isinstance(first, Tensor):
            raise ValueError(
                f"a batch that is or begins with {type(first).__name__} received, a tensor needed"
            )
        if not first.numel():
            raise ValueError(f"a batch of shape {tuple(first.shape)} received, some inputs needed")
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
                from .._progress import Progress

                shown.append(stack.enter_context(Progress(total, "calibration")))
                shown[0].advance(n)

        yield step
