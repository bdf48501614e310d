"""``decoupled_nets.distil``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from torch import nn

from ..calibration.inputs import Forward, take
from ..calibration.layers import Aim, Moments
from ..calibration.passes import (
    Run,
    adjust,
    bare,
    distance_of,
    norms_behind,
    observed,
    progress_shown,
    types_explained,
)
from ..conversion.engine import evaluating
from ..nn.fused import FusedDecoupledConv, FusedDecoupledLinear
from ..nn.operator import DecoupledMixin
from ..ops.decoupled.operator import Operator
from .density import Density, watched
from .exchange import put_named, undoing
from .reading import pairs_of, read_layer
from .report import Distillation, DistilledLayer

#: The layers keep their averages; radii are the operators' own.
_AIM = Aim(None, 0.5, keeps=True)


def distil(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    candidates: Sequence[Operator | str] | None = None,
    forward: Forward | None = None,
    max_batches: int = 16,
    exchange: bool = False,
) -> Distillation:
    """Say which named operators the learned ones of a network have become, and exchange them if asked.

    The network runs over the batches in evaluation mode. Of every layer with a learned half it is counted how
    often which patch norm comes with which cosine. Under these densities the halves of every candidate are
    brought as near to the learned ones as they come, by least squares: a factor for each, and the radius ρ,
    the constant β and the sharpness k where they have one. The nearest candidate is the one that explains
    most of h and of g, taken together; one with fewer constants goes before it if it leaves no more than
    0.1 % more, and ten times as much, unexplained. A half that is not learned stays.

    With `exchange` the layers get their nearest operators in place, as in :func:`convert`: a relative radius
    stays relative, at the ρ found in every channel, a number stays a number, and the scale is in α. Then
    every channel gets a factor (the buffer ``scale``) and a bias with which its outputs have the spread and
    the mean that they had, as in :func:`calibrate`. Hand parameters to an optimizer after that, as radii are
    new ones and learned halves are gone. ``report.undo()`` takes all of it back.

    Args:
        model: a network with operators such as ``power`` or ``spline-spline``.
        batches: as in :func:`calibrate`.
        candidates: operators to choose from, of which the names count and constants are found; None: all that
            learn nothing, registered ones too.
        forward: as in :func:`calibrate`.
        max_batches: how many are taken at most; their inputs are kept in memory.
        exchange: whether the layers get the nearest operators.

    Returns:
        The nearest operator of every layer, with its constants and what it explains; it prints as a table.
        R² is that about the mean. After an exchange it also says how far the outputs are from those before.

    Raises:
        ValueError: there is no layer with a learned half, no batch, or no candidate that fits; a batch is
            empty or not finite; or layers of several groups of channels were to be exchanged. The model is
            left as it was, here and below.
        TypeError: the network does not take batches of this type, or gives no tensor.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> model = torch.nn.Sequential(dn.DecoupledConv2d(3, 8, 3, operator="spline-cos"), torch.nn.ReLU())
        >>> batches = [torch.rand(16, 3, 8, 8) for _ in range(2)]
        >>> report = dn.distil(model, batches, candidates=["tanh-cos", "ball-cos", "linear-cos"])
        >>> report.operator, f"{report.layers[0].constants['ρ']:.1f}"
        ('tanh-cos', '1.0')
    """
    model = getattr(model, "_orig_mod", model)
    names = {module: name for name, module in model.named_modules()}
    layers = [
        m for m in model.modules() if isinstance(m, DecoupledMixin) and m.operator.learned != (None, None)
    ]
    chosen = pairs_of(candidates)
    _check(model, layers, names, exchange)
    inputs = take(batches, max_batches, model, whole=forward is not None)
    twins: dict[DecoupledMixin, nn.Module] = {layer: layer for layer in layers}
    passes = (3 if exchange else 1) * len(inputs)
    with bare(), evaluating(model), progress_shown(passes, "distillation") as step:
        run = Run(forward or (lambda model, batch: model(batch)), inputs, step)
        explained = nullcontext() if forward else types_explained(model, inputs)
        with explained, watched(layers) as densities:
            wanted, followers, expected = observed(model, twins, run)
        rows = _read(densities, names, chosen)
        unused = tuple(names[layer] for layer in layers if layer not in rows)
        flat = tuple(row for found in rows.values() for row in found)
        if not rows:
            raise ValueError("batches that reach no learned layer received; needed: some that do")
        if not exchange:
            return Distillation(flat, unused)
        behind = norms_behind(model, model, {layer: layer for layer in rows}, followers)
        undo = undoing(rows, behind)
        try:
            for layer, (row,) in rows.items():
                put_named(layer, row)
            reached: dict[DecoupledMixin, Moments] = {layer: wanted[layer] for layer in rows}
            adjust(model, reached, behind, _AIM, run, False)
            distance, why_not = distance_of(run(model), expected)
        except BaseException:
            undo()
            raise
    return Distillation(flat, unused, True, distance, why_not, undo)


def _read(
    densities: dict[DecoupledMixin, Density], names: dict[nn.Module, str], candidates: Any
) -> dict[DecoupledMixin, list[DistilledLayer]]:
    """The layers that were reached, in the order in which they compute."""
    return {
        layer: read_layer(names[layer], layer, density, candidates)
        for layer, density in densities.items()
        if density.count
    }


def _check(
    model: nn.Module, layers: list[DecoupledMixin], names: dict[nn.Module, str], exchange: bool
) -> None:
    if not layers:
        if any(isinstance(m, FusedDecoupledConv | FusedDecoupledLinear) for m in model.modules()):
            raise ValueError(
                "a fused network received, whose layers compute only; needed: the network that was fused; "
                "call distil() before fuse()"
            )
        found = dict.fromkeys(str(m.operator) for m in model.modules() if isinstance(m, DecoupledMixin))
        raise ValueError(
            f"a network of {', '.join(found) or 'plain layers'} received, which learns no operator; needed: "
            "one trained with operator power, spline-spline or another that is learned"
        )
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError("a network on the meta device received; needed: one with its weights")
    grouped = [layer for layer in layers if layer.operator.channel_groups > 1]
    if exchange and grouped:
        first = grouped[0]
        raise ValueError(
            f"a layer with {first.operator.channel_groups} groups of channels received "
            f"({names[first]!r}), each with its own functions; needed: one function a layer for an exchange; "
            "exchange=False reads them"
        )
