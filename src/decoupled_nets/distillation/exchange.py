"""Learned operators give way to named ones, in place, and come back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..conversion.classes import STATE, parametrizations_in_evaluation
from ..nn.operator import LEARNED, RADIUS_FLOOR, DecoupledMixin
from ..ops.decoupled.angle import angles
from ..ops.decoupled.magnitude import magnitudes
from ..ops.decoupled.operator import Operator
from .fits import takes_factor
from .report import DistilledLayer

_PLACES = ("__dict__", "_parameters", "_buffers")


def named_operator(layer: Any, read: DistilledLayer) -> Operator:
    """The nearest operator of a layer, with its constants; the response's scale is in α, where α can be one.

    Raises:
        ValueError: the scale is negative and cannot be in α.
    """
    own: Operator = layer.operator
    magnitude, angle = read.matches[0].pair
    entry = magnitudes[magnitude]
    alpha, beta = own.alpha, own.beta
    if read.h is not None:
        alpha, beta = entry.alpha, entry.beta if read.h.beta is None else read.h.beta
    assert alpha is not None
    assert beta is not None
    # "separate" has h(‖w‖), too, in which α counts as 1, so β has to be what it is for that.
    if takes_factor(magnitude) and layer.weighting != "separate":
        alpha, beta = alpha * read.scale, beta * read.scale
    elif read.scale <= 0:
        raise ValueError(
            f"a response of {read.scale:.3g} times {read.operator} received in the layer {read.name!r}; "
            "needed: a positive factor, because the scale of channels has to hold it"
        )
    options: dict[str, Any] = {"beta": beta} if entry.uses_beta else {}
    if angles[angle].uses_k:
        options["k"] = own.k if read.g is None else read.g.k
    return Operator(magnitude, angle, alpha=alpha, **options)


@torch.no_grad()
def put_named(layer: Any, read: DistilledLayer) -> None:
    """Give a layer its nearest operator; what stays of its state keeps its values."""
    operator = named_operator(layer, read)
    before: dict[str, Any] = {name: getattr(layer, name, None) for name in STATE}
    learned: Iterable[Any] = (before[name] for name in ("radius", "kappa", *LEARNED))
    trained = any(one.requires_grad for one in learned if isinstance(one, nn.Parameter))
    radius = before["relative"] or ("learned" if isinstance(before["radius"], Tensor) else before["radius"])
    if not operator.uses_radius or radius is None:
        radius = "relative"
    elif read.h is not None and read.h.radius is not None and isinstance(radius, float):
        radius = read.h.radius * read.mean_norm
    _take_state(layer)
    with parametrizations_in_evaluation(layer):
        layer._init_operator(operator, radius, before["weighting"], before["eps"])
    if layer.relative is not None and before["relative"] is not None:
        layer.mean_norm.copy_(before["mean_norm"])
        layer.num_updates.copy_(before["num_updates"])
    if isinstance(layer.radius, nn.Parameter):
        if read.h is None:
            layer.radius.copy_(before["radius"])
        else:
            assert read.h.radius is not None
            layer.radius.fill_((read.h.radius - RADIUS_FLOOR) ** 0.5)
        layer.radius.requires_grad_(trained)
    if layer.kappa is not None:
        layer.kappa.copy_(before["kappa"]).requires_grad_(trained)


def undoing(layers: Iterable[Any], behind: Mapping[Any, list[tuple[Any, Tensor]]]) -> Callable[[], None]:
    """A function that gives layers back all that an exchange changes of them and of the norms behind."""
    layers = list(layers)
    states = [{place: _of(layer, place) for place in _PLACES} for layer in layers]
    biases = [(b, b.detach().clone()) for layer in layers if (b := layer._parameters.get("bias")) is not None]
    means = [(norm, mean.clone()) for found in behind.values() for norm, mean in found]

    @torch.no_grad()
    def undo() -> None:
        if plain := [type(layer).__name__ for layer in layers if not isinstance(layer, DecoupledMixin)]:
            raise ValueError(
                f"{plain[0]} received in place of a layer that was exchanged; needed: the layers still "
                "decoupled; call undo() before revert()"
            )
        for layer, state in zip(layers, states, strict=True):
            _take_state(layer)
            for place, values in state.items():
                getattr(layer, place).update(values)
        for bias, value in biases:
            bias.copy_(value)
        for norm, mean in means:
            norm.running_mean.copy_(mean)

    return undo


def _of(layer: Any, place: str) -> dict[str, Any]:
    """The state of a decoupled layer that is kept in one of its dictionaries."""
    return {name: value for name, value in getattr(layer, place).items() if name in STATE}


def _take_state(layer: Any) -> None:
    for place in _PLACES:
        for name in _of(layer, place):
            del getattr(layer, place)[name]
