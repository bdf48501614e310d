"""What calibration set in a layer, and what it could not set."""

from __future__ import annotations

from typing import Any

import torch

from .layers import Aim, Calibrating, bends_at
from .radius import bends_angles
from .report import CalibratedLayer


@torch.no_grad()
def summary(name: str, state: Calibrating, aim: Aim) -> CalibratedLayer:
    """The report's row of a layer that was reached."""
    layer: Any = state.layer
    radius = radii = None
    if layer.operator.learned[0] is not None:
        if (own := state.starts) is not None:
            radius, radii = float(own.median()), (float(own.min()), float(own.max()))
    elif layer.operator.uses_radius:
        means = state.norms.means
        effective = layer.effective_radius(means.new_tensor(state.norms.mean))
        per_kernel = torch.as_tensor(effective, device=means.device).detach() / bends_at(layer)
        own = per_kernel / means.repeat_interleave(len(layer.weight) // len(means))
        radius, radii = float(own.median()), (float(own.min()), float(own.max()))
    scale = (float(layer.scale.min()), float(layer.scale.max()))
    return CalibratedLayer(
        name, state.norms.mean, radius, radii, scale, "; ".join(_notes(state, aim)) or None
    )


def _notes(state: Calibrating, aim: Aim) -> list[str]:
    layer, notes = state.layer, []
    operator = layer.operator
    if not operator.uses_radius:
        error = float(state.norms.errors(operator, state.norms.means.new_ones(1)).max())
        if error > aim.tolerance:
            notes.append(
                f"{operator.magnitude!r} has no radius, and is not proportional to the norm; {_off(error)}"
            )
    elif operator.learned[0] is not None:
        if state.had_learned and state.starts is not None:
            notes.append("its h was no longer as it starts, and began anew (radius=None keeps it)")
        error = _off_now(state)
        if error > aim.tolerance:
            notes.append(
                f"{operator.magnitude!r} is learned, and not proportional to the norm now (started as "
                f"linear-cos, it would be); {_off(error)}"
            )
    elif aim.radius is not None and not isinstance(layer.radius, torch.Tensor):
        notes.append(f"its radius is the number {layer.radius:g}, which stays")
    elif state.error is not None and state.error > aim.tolerance:
        notes.append(f"no radius is within the tolerance; {_off(state.error)}")
    if bends_angles(operator):
        notes.append(f"the angle {operator.angle!r} is not the plain one: no radius keeps the response")
    return notes


def _off_now(state: Calibrating) -> float:
    """How far a learned magnitude is from the norm at best, by the patches of a channel's own group."""
    sizes = state.norms.bins[:, None] * bends_at(state.layer)
    errors = state.norms.errors_of(state.layer.h(sizes).double())  # (G, O), or (G, 1) of one function
    own = errors if errors.shape[1] == 1 else errors.unflatten(1, (len(errors), -1)).diagonal()
    return float(own.max())


def _off(error: float) -> str:
    return f"the response is {100 * error:.2g} % off at best"
