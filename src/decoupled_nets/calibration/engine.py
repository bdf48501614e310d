"""``decoupled_nets.calibrate``."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..conversion.classes import as_plain
from ..conversion.dynamic import REPLACES
from ..conversion.engine import evaluating
from ..nn.operator import DecoupledMixin
from .batch_norm import BATCH_NORM, Averaging, Followers
from .inputs import Forward, Outputs, comparable, take, takes_no_single_input
from .layers import Aim, Calibrating, Moments, Radius, kept_on_failure
from .report import Calibration, Distance, distance
from .summary import summary

LONG = 10.0  # seconds from which on progress is shown
#: Of ``"auto"``: docs/calibration.md has what others give.
TOLERANCE = 0.002


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    radius: Radius = "auto",
    tolerance: float = TOLERANCE,
    forward: Forward | None = None,
    reference: nn.Module | None = None,
    max_batches: int = 16,
    reset_batch_norm: bool = False,
) -> Calibration:
    """Set scales and radii of a converted network so that it starts from the plain network's response.

    Call it between :func:`convert` and training. In the order in which they compute, every decoupled layer
    gets the mean norm of its patches as they come from the calibrated layers before it, a radius and,
    channel by channel, a factor (the buffer ``scale``, part of the state dict) and a bias, with which its
    outputs have the spread and the mean they have in the plain network. A layer without a bias hands the
    shift on to the running mean of the BatchNorm that takes its outputs, if one does. Other parameters and
    buffers are not touched; modes stay as they are.

    Args:
        model: a network with decoupled layers.
        batches: what goes into the network; it is brought to the model's device. Without `forward`: tensors,
            or tuples or lists whose first entry is one, as loaders give them.
        radius: how learned radii, relative or absolute, are set. ``"auto"``: to the least with which
            ``h(‖x‖)`` is proportional to ``‖x‖`` within `tolerance`, by the norms of the layer's own patches,
            group by group. A number: to so many mean patch norms of the layer; the larger, the nearer an
            operator such as tanh or ball is to the plain response, and the farther its bound. None keeps what
            they are.
        tolerance: for ``"auto"``, the root mean square difference of a layer's response from the plain one,
            in units of that.
        forward: ``forward(model, batch)`` runs the network on a batch of any kind, and returns what is to be
            compared, such as ``lambda model, batch: model(**batch)``.
        reference: the network to start from, with modules of the same names; None takes `model` itself with
            plain layers.
        max_batches: how many are taken at most; their inputs and outputs are kept in memory.
        reset_batch_norm: give BatchNorms that compute after the first decoupled layer their running
            statistics anew, averaged over the batches: for averages that did not belong to the data. It
            takes batches as large as in training; with few or small ones it makes the network worse.

    Returns:
        What was set, where nothing could be, and how far the outputs are from the reference's, before and
        after: the first tensor of them, if it has a row for every input, whatever the network's layers give.

    Raises:
        ValueError: there is no decoupled layer or no batch, a batch is empty or not finite, `radius`,
            `tolerance` or `max_batches` is out of range, or the plain network cannot be had from the model,
            because it was calibrated before or has dynamic filters. The model is left as it was, here and
            below.
        TypeError: the network does not take batches of this type, or gives no tensor.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.Flatten()
        ... )
        >>> _ = dn.convert(model, "tanh-cos", select=dn.Select(outputs=True))
        >>> report = dn.calibrate(model, [torch.rand(16, 3, 7, 7) for _ in range(4)])
        >>> report.after.error < 0.05 < report.before.error
        True
    """
    model = getattr(model, "_orig_mod", model)  # of torch.compile, whose graphs would not suit the hooks
    layers = [module for module in model.modules() if isinstance(module, DecoupledMixin)]
    aim = _check(model, layers, radius, tolerance, reference)
    inputs = take(batches, max_batches, model, whole=forward is not None)
    names = {module: name for name, module in model.named_modules()}
    with _bare(), evaluating(model), _progress(4 * len(inputs)) as step:
        run = _Run(forward or (lambda model, batch: model(batch)), inputs, step)
        plain = model if reference is None else reference
        twins = {layer: layer if reference is None else _named(reference, names[layer]) for layer in layers}
        made_plain = as_plain(layers) if reference is None else nullcontext()
        explained = nullcontext() if forward else _types_explained(plain, inputs)
        with evaluating(plain), made_plain, explained:
            wanted, followers, expected = _observe(plain, twins, run)
        for layer, moments in wanted.items():
            if not bool((moments.mean + moments.deviation).isfinite().all()):
                raise ValueError(f"the plain layer {names[layer]!r} gives infinities or NaN on these batches")
        behind = {} if reset_batch_norm else _behind(model, plain, twins, followers)
        before, _ = _distance(run(model), expected)
        with kept_on_failure(model):
            states = _adjust(model, wanted, behind, aim, run, reset_batch_norm)
            after, why_not = _distance(run(model), expected)
            rows = tuple(summary(names[one], state, aim) for one, state in states.items() if state.reached)
    unused = tuple(names[layer] for layer in layers if layer not in states or not states[layer].reached)
    return Calibration(rows, unused, before, after, why_not)


@contextmanager
def _bare() -> Iterator[None]:
    """Numbers that can be trained on afterwards, and code that sees the hooks: none compiled before."""
    with torch.inference_mode(False), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        yield


@dataclass(frozen=True)
class _Run:
    """A network on all batches."""

    forward: Forward
    inputs: list[Any]
    step: Callable[[], None]

    def __call__(self, model: nn.Module) -> Outputs:
        outputs = Outputs()
        for batch in self.inputs:
            outputs.add(self.forward(model, batch))
            self.step()
        return outputs


def _distance(outputs: Outputs, expected: Outputs) -> tuple[Distance, str | None]:
    if (reason := comparable(outputs, expected)) is not None:
        return Distance(None, None), reason
    return distance(outputs.values, expected.values), None


def _observe(
    model: nn.Module, twins: dict[DecoupledMixin, nn.Module], run: _Run
) -> tuple[dict[DecoupledMixin, Moments], Followers, Outputs]:
    """Moments of what plain layers give, what takes that, and the network's outputs."""
    moments: dict[DecoupledMixin, Moments] = {}

    def hook(layer: DecoupledMixin) -> Callable[..., None]:
        def observe(module: nn.Module, _: Any, output: torch.Tensor) -> None:
            own = moments.setdefault(layer, Moments())
            own.add(output, module)
            own.remember()

        return observe

    followers = Followers(list(twins.values()))
    with ExitStack() as stack:
        for layer, twin in twins.items():
            stack.callback(twin.register_forward_hook(hook(layer), prepend=True).remove)
        stack.enter_context(followers.watching(model))
        return moments, followers, run(model)


def _behind(
    model: nn.Module, plain: nn.Module, twins: dict[DecoupledMixin, nn.Module], followers: Followers
) -> dict[DecoupledMixin, list[tuple[Any, torch.Tensor]]]:
    """The normalisations behind every layer, with the running means that they have in the plain network."""
    names = {module: name for name, module in plain.named_modules()}
    behind = {}
    for layer, twin in twins.items():
        found: list[Any] = followers.of(twin)
        behind[layer] = [(_named(model, names[norm]), norm.running_mean.clone()) for norm in found]
    return behind


def _adjust(
    model: nn.Module,
    wanted: dict[DecoupledMixin, Moments],
    behind: dict[DecoupledMixin, list[tuple[Any, torch.Tensor]]],
    aim: Aim,
    run: _Run,
    reset_batch_norm: bool,
) -> dict[DecoupledMixin, Calibrating]:
    """Calibrate layer after layer while the batches pass."""
    anew = [m for m in model.modules() if isinstance(m, BATCH_NORM) and m.track_running_stats]
    anew = anew if reset_batch_norm else []
    with ExitStack() as stack:
        states = {
            layer: Calibrating(layer, moments, aim, behind.get(layer, ()))
            for layer, moments in wanted.items()
        }
        for layer, state in states.items():
            stack.callback(layer.register_forward_pre_hook(state.before, with_kwargs=True).remove)
            # The layer's own response, before others' hooks change it.
            stack.callback(layer.register_forward_hook(state.after, prepend=True).remove)
        for norm in anew:
            averaging = Averaging(norm, lambda: any(state.reached for state in states.values()))
            stack.callback(norm.register_forward_pre_hook(averaging.before).remove)
            stack.callback(averaging.end)
        run(model)
    return states


@contextmanager
def _types_explained(model: nn.Module, inputs: list[Any]) -> Iterator[None]:
    """Say so if the number or the type of the inputs may be why a network failed; some do take them."""
    needed = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    try:
        yield
    except TypeError as error:
        if (why := takes_no_single_input(model)) is None:
            raise
        raise TypeError(
            f"a network received that does not take the first tensor of a batch alone ({why}); needed: "
            "forward=, such as lambda model, batch: model(*batch)"
        ) from error
    except RuntimeError as error:
        other = next((batch.dtype for batch in inputs if batch.dtype != needed), None)
        if needed is None or other is None:
            raise
        raise TypeError(
            f"batches of {other} received, which the network does not take; needed: {needed}, "
            "normalised as in its training"
        ) from error


def _check(
    model: nn.Module,
    layers: list[DecoupledMixin],
    radius: Radius,
    tolerance: float,
    reference: nn.Module | None,
) -> Aim:
    if not layers:
        raise ValueError(
            "a network without decoupled layers received; needed: at least one; convert(model) makes them"
        )
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError("a network on the meta device received; needed: one with its weights")
    number = isinstance(radius, int | float) and not isinstance(radius, bool)
    if radius is not None and radius != "auto" and not (number and 0 < radius < math.inf):
        raise ValueError(f"radius = {radius!r} received; needed: 'auto', a positive number or None")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance = {tolerance} received; needed: a number between 0 and 1")
    aim = Aim(radius, tolerance)
    if reference is not None:
        return aim
    if any(layer.scale is not None for layer in layers):
        raise ValueError(
            "a calibrated network received, whose biases are no longer the plain network's; "
            "needed: reference=, the plain network"
        )
    if any(REPLACES in module.__dict__ for module in model.modules()):
        raise ValueError("a network with dynamic filters received; needed: reference=, the plain network")
    return aim


def _named(reference: nn.Module, name: str) -> nn.Module:
    try:
        return reference.get_submodule(name)
    except AttributeError:
        raise ValueError(
            f"reference has no module {name!r}, which the model has; needed: the network as it was before "
            "conversion"
        ) from None


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
