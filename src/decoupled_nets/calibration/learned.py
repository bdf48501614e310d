"""A learned magnitude starts as a named one, at a radius by the norms of patches, as for that one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..ops.decoupled.operator import Operator, resolve_operator


class Start(NamedTuple):
    """The magnitude of a learned operator as a function of the radius at which it starts.

    Attributes:
        operator: that operator.
        unit: the patch norm at which the learned function is at 1.
    """

    operator: Operator
    unit: float

    def parameters(self, radii: Tensor) -> Tensor:
        """For each radius (R,) the parameters in force of the named h, scaled to 1 at the unit: (R, P).

        The layer's ``scale`` has the size. Slopes of a wide radius would be small, and a step of the
        optimizer a long way for them.
        """
        of_h, named = self.operator.learned[0], resolve_operator(self.operator.start)
        assert of_h is not None
        column = radii.double().cpu()[:, None] / self.unit

        def scaled(size: Tensor) -> Tensor:
            values = named.h(size, column, 1.0) / named.h(torch.ones_like(size), column, 1.0)
            return values.broadcast_to(len(column), len(size))

        return of_h.effective(of_h.start(scaled), self.operator.limits)

    def h(self, norm: Tensor, radius: Tensor) -> Tensor:
        """At norms (N, 1) for each radius (1, R): (N, R)."""
        values = self.operator.h(norm, self.unit, parameters=self.parameters(radius[0]))
        return values.nan_to_num(0.0, 0.0, 0.0)

    def rows(self, radii: Tensor, count: int) -> Tensor:
        """Parameters (N, P) of `count` groups of channels, from radii of the groups of a convolution (G,)."""
        groups = len(radii)
        own = radii[:: groups // count] if count < groups else radii.repeat_interleave(count // groups)
        return self.parameters(own)


def shared(radii: Tensor, count: int) -> Tensor:
    """Radii (G,), where several groups of a convolution learn one of `count` functions that of the widest."""
    of_each = min(count, len(radii))
    return radii.view(of_each, -1).amax(1).repeat_interleave(len(radii) // of_each)


def start_of(layer: Any, norms: Tensor, bends: Tensor | float) -> Start | None:
    """The start of a layer's magnitude, or None where it is not learned or started as one without a radius.

    Args:
        layer: a decoupled layer.
        norms: any, whose device and type count.
        bends: a kernel's radius in units of the patch norm at which h bends for it: (O,), or 1.
    """
    operator = layer.operator
    if not isinstance(layer.h_parameters, nn.Parameter) or not resolve_operator(operator.start).uses_radius:
        return None
    unit = torch.as_tensor(layer.effective_radius(norms), dtype=torch.float64)
    return Start(operator, float(unit) / float(torch.as_tensor(bends).max()))


def has_learned(layer: Any) -> bool:
    """Whether a layer's learned magnitude is no longer as it starts."""
    start = layer.operator.start_parameters()[0]
    return start is not None and not torch.equal(
        layer.h_parameters, start.to(layer.h_parameters).expand_as(layer.h_parameters)
    )
