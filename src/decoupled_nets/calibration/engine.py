"""``decoupled_nets.calibrate``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from torch import nn

from ..conversion.classes import as_plain
from ..conversion.dynamic import REPLACES
from ..conversion.engine import evaluating
from ..nn.operator import DecoupledMixin
from .inputs import Forward, take
from .layers import Aim, Radius, kept_on_failure
from .passes import (
    Run,
    adjust,
    bare,
    distance_of,
    named_in,
    norms_behind,
    observed,
    progress_shown,
    types_explained,
)
from .report import Calibration
from .summary import summary

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
    shift on to the running mean of the BatchNorm that takes its outputs, if one does. A learned magnitude
    starts anew as the named one that it is to start as, at a radius that is found as for that one, and scaled
    to 1 at the mean patch norm; what it had learned is lost. Other parameters and buffers are not touched;
    modes stay as they are.

    Args:
        model: a network with decoupled layers.
        batches: what goes into the network; it is brought to the model's device. Without `forward`: tensors,
            or tuples or lists whose first entry is one, as loaders give them.
        radius: how learned radii, relative or absolute, and those that learned magnitudes start at are set.
            ``"auto"``: to the least with which ``h(‖x‖)`` is proportional to ``‖x‖`` within `tolerance`, by
            the norms of the layer's own patches, group by group. A number: to so many mean patch norms of the
            layer; the larger, the nearer an operator such as tanh or ball is to the plain response, and the
            farther its bound. None keeps what they are, and what magnitudes have learned.
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
    with bare(), evaluating(model), progress_shown(4 * len(inputs), "calibration") as step:
        run = Run(forward or (lambda model, batch: model(batch)), inputs, step)
        plain = model if reference is None else reference
        twins = {layer: layer if reference is None else named_in(reference, names[layer]) for layer in layers}
        made_plain = as_plain(layers) if reference is None else nullcontext()
        explained = nullcontext() if forward else types_explained(plain, inputs)
        with evaluating(plain), made_plain, explained:
            wanted, followers, expected = observed(plain, twins, run)
        for layer, moments in wanted.items():
            if not bool((moments.mean + moments.deviation).isfinite().all()):
                raise ValueError(f"the plain layer {names[layer]!r} gives infinities or NaN on these batches")
        behind = {} if reset_batch_norm else norms_behind(model, plain, twins, followers)
        before, _ = distance_of(run(model), expected)
        with kept_on_failure(model):
            states = adjust(model, wanted, behind, aim, run, reset_batch_norm)
            after, why_not = distance_of(run(model), expected)
            rows = tuple(summary(names[one], state, aim) for one, state in states.items() if state.reached)
    unused = tuple(names[layer] for layer in layers if layer not in states or not states[layer].reached)
    return Calibration(rows, unused, before, after, why_not)


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
