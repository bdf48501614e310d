"""The oracle: decoupled convolution as the paper writes it, patch by patch, in float64, and slow.

Nothing here is shared with the fast path but the names: patches are cut out one window at a time, the angle
is an angle, and h and g are the formulas of the paper's section 3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..geometry import Geometry, IntOrInts
from .magnitude import magnitudes
from .operator import Operator, Value, resolve_operator

_ONE = torch.ones((), dtype=torch.float64)

H: dict[str, Callable[..., Tensor]] = {
    "sphere": lambda n, rho, a, b: a * n**0,
    "ball": lambda n, rho, a, b: a * torch.minimum(n, rho) / rho,
    "tanh": lambda n, rho, a, b: a * torch.tanh(n / rho),
    "linear": lambda n, rho, a, b: a * n,
    "seg": lambda n, rho, a, b: torch.where(n <= rho, a * n, b * n + (a - b) * rho),
    "log": lambda n, rho, a, b: a * torch.log(1 + n),
    "mix": lambda n, rho, a, b: a * n + b * torch.log(1 + n),
}


def _sigmoid(theta: Tensor, k: Tensor) -> Tensor:
    e = torch.exp(-math.pi / (2 * k))
    f = torch.exp(theta / k - math.pi / (2 * k))
    return (1 + e) / (1 - e) * (1 - f) / (1 + f)


G: dict[str, Callable[..., Tensor]] = {
    "linear": lambda theta, k: 1 - 2 * theta / math.pi,
    "cos": lambda theta, k: torch.cos(theta),
    "sqcos": lambda theta, k: torch.sign(torch.cos(theta)) * torch.cos(theta) ** 2,
    "sigmoid": _sigmoid,
}


def _knots(at: Tensor, places: list[float], slopes: Tensor) -> Tensor:
    """The function through 0 that has these slopes behind these places."""
    heights = [torch.zeros((), dtype=torch.float64)]
    for left, right, slope in zip(places, places[1:], slopes[:-1], strict=False):
        heights.append(heights[-1] + (right - left) * slope)
    y = torch.zeros_like(at)
    for place, height, slope in zip(places, heights, slopes, strict=True):
        y = torch.where(at >= place, height + slope * (at - place), y)
    return y


#: Learned halves, of u = ‖x‖/ρ and t = √d cos θ, with their parameters in force.
LEARNED_H: dict[str, Callable[..., Tensor]] = {
    "power": lambda u, p: u ** p[0],
    "spline": lambda u, p: _knots(u, [0.2 * i for i in range(16)], p),
}
LEARNED_G: dict[str, Callable[..., Tensor]] = {
    "power": lambda t, p: t * torch.sqrt(t**2 + 1e-3) ** (p[0] - 1),
    "spline": lambda t, p: torch.where(t < 0, -_knots(-t, [0, 1, 2, 3], p), _knots(t, [0, 1, 2, 3], p)),
}


def _in_force(op: Operator, place: int, parameters: Tensor) -> Tensor:
    """The parameters within their limits; a spline angle's by the expectation of g², summed up on a grid."""
    if (op.magnitude, op.angle)[place] == "power":
        low, high = [(0.0, 1.5), (0.5, 3.0)][place]
        return parameters + (parameters.clamp(low, high) - parameters).detach()
    names, steep = op.limits

    def within(value: Tensor, low: float | None, high: float | None) -> Tensor:
        return value + (value.clamp(low, high) - value).detach()

    if place == 0:
        if names or steep is not None:
            parameters = within(parameters, 0.0 if "monotone" in names else -(steep or math.inf), steep)
        return parameters * (1 - torch.eye(16)[-1].double() * ("bounded" in names))
    parameters = within(parameters, 0.0, None) if "monotone" in names else parameters
    t = torch.linspace(0, 14, 140001, dtype=torch.float64)
    density = 2 * torch.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
    rows = []
    for row in parameters:
        square = _knots(t, [0, 1, 2, 3], row) ** 2 * density
        fine, coarse = torch.trapezoid(square, t), torch.trapezoid(square[::2], t[::2])
        rows.append(row / ((4 * fine - coarse) / 3).clamp(min=1e-6).sqrt())
    scaled = torch.stack(rows)
    return scaled if steep is None else within(scaled, -steep, steep)


def decoupled_conv_reference(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrInts = 1,
    padding: IntOrInts | str = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    *,
    operator: Operator | str = "tanh-cos",
    radius: Value = 1.0,
    weighting: str | None = None,
    alpha: Value | None = None,
    beta: Value | None = None,
    k: Value | None = None,
    eps: float = 1e-4,
    h_parameters: Tensor | None = None,
    g_parameters: Tensor | None = None,
) -> Tensor:
    """As the functions of :mod:`decoupled_nets.functional`, in float64, for batched input."""
    op = resolve_operator(operator)
    x, w = input.double(), weight.double()
    channels = w.shape[0]
    patches = cut_patches(x, Geometry.of(w.shape[2:], stride, padding, dilation))  # (B, S, C, K)

    def column(value: Value | str | None) -> Tensor:
        if value is None or isinstance(value, str):
            raise ValueError(f"a constant = {value!r} received; needed: its value")
        return torch.as_tensor(value, dtype=torch.float64)

    constants = {
        "rho": column(radius),
        "a": column(op.alpha if alpha is None else alpha),
        "b": column(op.beta if beta is None else beta),
        "k": column(op.k if k is None else k),
    }
    given = zip((h_parameters, g_parameters), op.start_parameters(), strict=True)
    learned = [
        None if start is None else _in_force(op, place, start[None] if value is None else value.double())
        for place, (value, start) in enumerate(given)
    ]
    per_group = channels // groups
    width = w.shape[1]
    out = []
    for o in range(channels):
        group = o // per_group
        patch = patches[:, :, group * width : (group + 1) * width].flatten(2)  # (B, S, C/G * K)
        own = {name: value if value.numel() == 1 else value[o] for name, value in constants.items()}
        parameters = [None if value is None else value[o * len(value) // channels] for value in learned]
        y = _respond(patch, w[o].flatten(), op, weighting, own, parameters, eps)
        out.append(y if bias is None else y + bias.double()[o])
    size = Geometry.of(w.shape[2:], stride, padding, dilation).output_size(x.shape[2:])
    return torch.stack(out, 1).view(x.shape[0], channels, *size)


def _respond(
    patch: Tensor,
    w: Tensor,
    op: Operator,
    weighting: str | None,
    own: dict[str, Tensor],
    parameters: list[Tensor | None],
    eps: float,
) -> Tensor:
    x_norm = (patch.pow(2).sum(-1) + eps).sqrt()
    w_norm = (w.pow(2).sum() + eps).sqrt()
    theta = torch.acos((patch @ w) / (x_norm * w_norm))

    def h(norm: Tensor, alpha: Tensor) -> Tensor:
        if parameters[0] is not None:
            size = norm / own["rho"].reshape(())
            return alpha.reshape(()) * LEARNED_H[op.magnitude](size, parameters[0])
        fn = H.get(op.magnitude, magnitudes[op.magnitude].fn)
        return fn(norm, own["rho"].reshape(()), alpha.reshape(()), own["b"].reshape(()))

    formula = G.get(op.angle, lambda theta, k: op.g(torch.cos(theta), k))
    if parameters[1] is None:
        g = formula(theta, own["k"].reshape(()))
    else:
        unit = math.sqrt(len(w))
        g = LEARNED_G[op.angle](torch.cos(theta) * unit, parameters[1]) / unit
    if weighting == "product":
        return h(x_norm * w_norm, own["a"]) * g
    if weighting == "separate":
        return h(x_norm, own["a"]) * h(w_norm, _ONE) * g
    return h(x_norm, own["a"]) * g * (w_norm if weighting == "linear" else 1)


def cut_patches(x: Tensor, geometry: Geometry) -> Tensor:
    """Every window of x (B, C, *spatial), one at a time: (B, positions, C, taps)."""
    size = geometry.output_size(x.shape[2:])
    x = geometry.pad(x)
    windows = []
    for position in itertools.product(*[range(n) for n in size]):
        window = x
        for axis, at in enumerate(position):
            start = at * geometry.stride[axis]
            stop = start + geometry.dilation[axis] * (geometry.kernel[axis] - 1) + 1
            index = (slice(None),) * (2 + axis)
            window = window[(*index, slice(start, stop, geometry.dilation[axis]))]
        windows.append(window.unsqueeze(-1).flatten(2))  # the last dimension is there without K as well
    return torch.stack(windows, 1)
