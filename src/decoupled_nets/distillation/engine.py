"""``dn.distil``: which named operators a network's learned ones came to, and their exchange."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..calibration import calibrate
from ..nn.operator import LEARNED, RADIUS_FLOOR, DecoupledMixin
from ..ops.decoupled.operator import Operator
from ..optim import decoupled_layers
from .densities import Densities, observe
from .fit import Fitted, nearest_angle, nearest_magnitude

#: The share of norms beyond the bins that is worth a word.
_MUCH = 0.005
Forward = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True)
class DistilledLayer:
    """What one layer, or one group of its channels, came to.

    Attributes:
        name: of the layer.
        row: which group of channels; None: the layer has one function for all.
        learned: its operator.
        magnitudes: named magnitudes, the nearest first; one where h is not learned.
        angles: likewise.
        explained: R² of the response h · g about 0, with the nearest of both, if norms and cosines are
            independent of each other.
        densities: what it saw.
        functions: h at the bins' u, and g at their t.
    """

    name: str
    row: int | None
    learned: Operator
    magnitudes: list[Fitted]
    angles: list[Fitted]
    explained: float
    densities: Densities = field(repr=False, compare=False)
    functions: tuple[Tensor, Tensor] = field(repr=False, compare=False)

    @property
    def operator(self) -> str:
        """The shorthand of the nearest named operator."""
        return f"{self.magnitudes[0].name}-{self.angles[0].name}"

    def __str__(self) -> str:
        """A sentence."""
        where = self.name if self.row is None else f"{self.name}, group {self.row}"
        h, g = self.magnitudes[0], self.angles[0]
        halves = [
            half for half, learned in zip((h, g), self.learned.learned, strict=True) if learned is not None
        ]
        said = " and ".join(f"{half} explains {_percent(half.explained)}" for half in halves)
        beyond = self.densities.beyond
        more = f" ({_percent(beyond)} of its norms lie beyond ten mean norms)" if beyond > _MUCH else ""
        return f"{where}: {said}; of the response {_percent(self.explained)}{more}"


@dataclass
class Distillation:
    """What :func:`distil` found; prints as sentences.

    Attributes:
        layers: every layer that learns a half and that batches reached, or each of its groups of channels.
        exchanged: whether they are exchanged.
    """

    layers: list[DistilledLayer]
    exchanged: bool = False
    _undo: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    @property
    def operator(self) -> str:
        """The shorthand that most layers came to."""
        return Counter(layer.operator for layer in self.layers).most_common(1)[0][0]

    def undo(self) -> None:
        """Give the network its learned operators back, with the very numbers that they had.

        Raises:
            ValueError: nothing is exchanged.
        """
        if self._undo is None:
            raise ValueError("nothing was exchanged; needed: distil(..., exchange=True), undone once")
        self._undo()
        self._undo, self.exchanged = None, False

    def __str__(self) -> str:
        """A sentence a layer, and what most of them came to."""
        count = sum(layer.operator == self.operator for layer in self.layers)
        alike = f"{count} of {len(self.layers)} are nearest to {self.operator}"
        return "\n".join([*map(str, self.layers), alike])


def distil(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    exchange: bool = False,
    forward: Forward | None = None,
    max_batches: int = 16,
) -> Distillation:
    """Find the named operator that is nearest to every learned one, where the data lies.

    Both halves are fitted by least squares, weighted with the norms and cosines of the layer's own patches in
    evaluation mode. Of candidates that explain alike the one with the fewest constants is taken; the angles
    ``linear`` and ``sigmoid`` are the cosine at the cosines of most layers, and are named where they differ.

    Args:
        model: a network with layers that learn an operator.
        batches: what goes into the network; of tuples and lists the first entry.
        exchange: give the layers the named operators, with their constants, in place of the learned ones;
            scales and biases are then set by the batches (:func:`decoupled_nets.calibrate`) so that each
            layer answers with the spread and the mean that it had. :meth:`Distillation.undo` takes it back.
        forward: ``forward(model, batch)`` runs the network on a batch of any other kind.
        max_batches: how many are taken at most.

    Returns:
        What every layer came to.

    Raises:
        ValueError: no layer learns an operator or is reached, or a layer that is to be exchanged learns
            functions for several groups of channels.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> model = torch.nn.Sequential(dn.DecoupledConv2d(3, 8, 3, operator="spline-cos@ball-cos"))
        >>> print(dn.distil(model, [torch.randn(4, 3, 8, 8)]).layers[0].operator)
        ball-cos
    """
    taken = list(islice(batches, max_batches))
    layers = {
        name: layer for name, layer in decoupled_layers(model) if layer.operator.learned != (None, None)
    }
    if not layers:
        raise ValueError(
            "a network without learned operators received; needed: layers of an operator such as power or "
            "spline-spline"
        )
    seen = observe(model, taken, forward)
    found = [row for name, layer in layers.items() if name in seen for row in _rows(name, layer, seen[name])]
    if not found:
        raise ValueError("batches that reach no learned layer received; needed: ones that do")
    report = Distillation(found)
    if exchange:
        _exchange(model, layers, report, taken, forward)
    return report


@torch.no_grad()
def _rows(name: str, layer: DecoupledMixin, densities: Densities) -> list[DistilledLayer]:
    """What each group of channels of a layer came to."""
    operator, centres = layer.operator, densities.centres
    groups = operator.channel_groups
    found = []
    for row in range(groups):
        h_parameters, g_parameters = (
            None if given is None else given[row].detach().double().cpu()
            for given in (layer.h_parameters, layer.g_parameters)
        )
        # Rows of a histogram are as many as the groups of either kind.
        of_size, of_turn = (_part(counts, row, groups) for counts in (densities.size, densities.turn))
        named_h, named_g = _named(operator)
        radius = _radius(layer, densities.unit)
        h = operator.h(centres, radius, parameters=h_parameters)
        cosine = centres / densities.fan_in**0.5
        k = None if layer.kappa is None else float(layer.effective_k().mean())  # type: ignore[union-attr]
        g = operator.g(cosine, k, g_parameters, densities.fan_in)
        magnitudes = nearest_magnitude(centres, h, of_size, densities.unit) if named_h is None else [named_h]
        angles = nearest_angle(centres, g, of_turn, densities.fan_in) if named_g is None else [named_g]
        explained = _explained(layer, densities, (of_size, of_turn), (h, g), (magnitudes[0], angles[0]))
        own = None if groups == 1 else row
        found.append(DistilledLayer(name, own, operator, magnitudes, angles, explained, densities, (h, g)))
    return found


def _named(operator: Operator) -> tuple[Fitted | None, Fitted | None]:
    """The halves that are not learned, as they are."""
    of_h, of_g = operator.learned
    assert operator.alpha is not None
    beta = operator.beta if operator.uses_beta else None
    h = None if of_h is not None else Fitted(operator.magnitude, 1.0, operator.alpha, beta)
    return h, None if of_g is not None else Fitted(operator.angle, 1.0, 1.0)


def _radius(layer: DecoupledMixin, unit: float) -> float:
    """ρ in units of `unit`, the mean over channels."""
    if layer.operator.learned[0] is not None or not layer.operator.uses_radius:
        return 1.0
    radius = layer.effective_radius(layer.weight.new_full((), unit))
    return float(torch.as_tensor(radius).mean()) / unit


def _part(counts: Tensor, row: int, groups: int) -> Tensor:
    """The counts of one of the groups that learn, of as many rows as divide it or are divided by it."""
    rows = len(counts)
    return counts[row * rows // groups] if rows <= groups else counts.unflatten(0, (groups, -1))[row].sum(0)


def _explained(
    layer: DecoupledMixin,
    densities: Densities,
    weights: tuple[Tensor, Tensor],
    learned: tuple[Tensor, Tensor],
    fitted: tuple[Fitted, Fitted],
) -> float:
    """R² of the product, for norms and cosines that are independent of each other."""
    size, turn = weights[0] / weights[0].sum(), weights[1] / weights[1].sum()
    h, g = learned
    like_h = h if layer.operator.learned[0] is None else values(fitted[0], densities)
    like_g = g if layer.operator.learned[1] is None else angle_values(fitted[1], densities)

    def mean(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> float:
        return float((size * a * b).sum() * (turn * c * d).sum())

    error = mean(h, h, g, g) - 2 * mean(h, like_h, g, like_g) + mean(like_h, like_h, like_g, like_g)
    return 1 - error / max(mean(h, h, g, g), 1e-300)


def values(fitted: Fitted, densities: Densities) -> Tensor:
    """A named magnitude at the bins' u."""
    unit = densities.unit
    radius = unit if fitted.radius is None else fitted.radius * unit
    operator = Operator(fitted.name, "cos", fitted.alpha, fitted.beta)
    return operator.h(densities.centres * unit, radius)


def angle_values(fitted: Fitted, densities: Densities) -> Tensor:
    """A named angle at the bins' t."""
    cosine = (densities.centres / densities.fan_in**0.5).clamp(max=1.0)
    return fitted.alpha * Operator("tanh", fitted.name).g(cosine)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.9995 else f"{100 * share:.2f} %"


def _exchange(
    model: nn.Module,
    layers: dict[str, DecoupledMixin],
    report: Distillation,
    batches: Sequence[Any],
    forward: Forward | None,
) -> None:
    """Named operators in the place of learned ones, and scales that keep what the layers gave."""
    rows = {row.name: row for row in report.layers}
    for name in rows:
        if layers[name].operator.channel_groups > 1:
            raise ValueError(
                f"layer {name!r} with {layers[name].operator.channel_groups} groups of channels received; "
                "needed: one function a layer (channel_groups=1), to exchange it for a named one"
            )
    before = copy.deepcopy(model)
    kept = {name: _snapshot(layers[name]) for name in rows}
    state = {key: value.clone() for key, value in model.state_dict().items()}

    def undo() -> None:
        for name, (attributes, parameters, buffers) in kept.items():
            layer = layers[name]
            layer.__dict__.clear()
            layer.__dict__.update(attributes)
            layer._parameters, layer._buffers = dict(parameters), dict(buffers)
        model.load_state_dict(state)

    try:
        for name, row in rows.items():
            _become(layers[name], row.magnitudes[0], row.angles[0], row.densities)
        calibrate(model, batches, radius=None, reference=before, forward=forward, max_batches=len(batches))
    except BaseException:
        undo()
        raise
    report._undo, report.exchanged = undo, True


def _snapshot(layer: DecoupledMixin) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    return dict(layer.__dict__), dict(layer._parameters), dict(layer._buffers)


@torch.no_grad()
def _become(layer: Any, h: Fitted, g: Fitted, densities: Densities) -> None:
    """Give a layer the named operator with its constants."""
    old = layer.operator
    beta = None if h.beta is None else h.beta * g.alpha
    operator = Operator(h.name, g.name, h.alpha * g.alpha, beta, old.k)
    kept = {name: layer._buffers.get(name) for name in ("mean_norm", "num_updates", "scale")}
    radius = layer.options().get("radius", "relative")
    learns_radius = old.learned[0] is None
    own = layer.radius
    if not learns_radius and h.radius is not None and layer.relative is None:
        radius = h.radius * densities.unit
    elif not operator.uses_radius:
        radius = "relative"  # which is left out without a word
    for name in ("radius", "relative"):
        layer.__dict__.pop(name, None)
    for name in ("mean_norm", "num_updates"):
        layer._buffers.pop(name, None)
    layer._init_operator(operator, radius, layer.weighting, layer.eps)
    layer._buffers["scale"] = kept["scale"]
    for name in ("mean_norm", "num_updates"):
        if name in layer._buffers and kept[name] is not None:
            layer._buffers[name].copy_(kept[name])
    if isinstance(layer.radius, nn.Parameter):
        if learns_radius:
            layer.radius.copy_(own)
        elif h.radius is not None:
            layer.radius.fill_(max(h.radius - RADIUS_FLOOR, RADIUS_FLOOR) ** 0.5)
    assert all(getattr(layer, name) is None for name in LEARNED)
