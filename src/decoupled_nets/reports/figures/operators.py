"""What operators are: h of the magnitude, g of the angle, and both over a plane of inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from ...ops.decoupled.angle import angles
from ...ops.decoupled.magnitude import magnitudes
from ...ops.decoupled.operator import Operator, resolve_operator
from ...ops.decoupled.shorthand import spelled
from .style import (
    BASELINE,
    WIDTH,
    Theme,
    ThemeName,
    grid,
    label_ends,
    operator_colours,
    styled,
)

RADIUS = 1.0
_LARGEST_NORM = 3.0
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1, 1.5)))
Line = tuple[str, Operator, str]  # label, operator that has the function, colour
#: Operators, or by label the operator of each: colours are those of the labels.
Names = Sequence[str] | Mapping[str, str]


def known_operators(names: Iterable[str]) -> dict[str, Operator]:
    """The decoupled ones among `names`; a name registered nowhere any more is left out."""
    found = {}
    for name in names:
        try:
            found[name] = resolve_operator(name)
        except ValueError:
            continue
    return found


def functions(names: Names, theme: ThemeName = "light") -> Figure:
    """Both halves, h and g, of the operators named; the plain convolution's ‖x‖ is dashed.

    Learned halves are drawn as they start.
    """
    operators = known_operators(_operators(names))
    with styled(theme) as look:
        colours = _colours(names, look)
        halves = {name: _halves(operator) for name, operator in operators.items()}
        magnitude_lines = _merged({n: h for n, (h, _) in halves.items()}, operators, colours, look)
        angle_lines = _merged({n: g for n, (_, g) in halves.items()}, operators, colours, look)
        return _functions(magnitude_lines, angle_lines, look, plain=True)


def _operators(names: Names) -> list[str]:
    return list(dict.fromkeys(names.values() if isinstance(names, Mapping) else names))


def _colours(names: Names, look: Theme) -> dict[str, str]:
    """A colour an operator: its label's, or ink where several labels have it."""
    by_label = names if isinstance(names, Mapping) else {name: name for name in names}
    colours, owners = operator_colours(list(by_label), look), list(by_label.values())
    own = {
        operator: colours[label] if owners.count(operator) == 1 else look.ink
        for label, operator in by_label.items()
    }
    return {**own, BASELINE: look.baseline}


def _halves(operator: Operator) -> tuple[str, str]:
    """The names of h and g; of learned ones, which are drawn as they start, that of their start, too."""
    of_h, of_g = operator.learned
    start = resolve_operator(operator.start)
    # What holds a spline changes where it starts, too.
    held = "" if of_h is None or not of_h.slopes else spelled(*operator.limits, 1)
    h = operator.magnitude if of_h is None else f"{operator.magnitude}{held} ({start.magnitude})"
    return h, operator.angle if of_g is None else f"{operator.angle} ({start.angle})"


def _g(operator: Operator, cosine: torch.Tensor) -> torch.Tensor:
    """The angular function; of a learned one, which goes by the size of a patch, what it starts as."""
    return (operator if operator.learned[1] is None else resolve_operator(operator.start)).g(cosine)


def operators_overview(theme: ThemeName = "light") -> Figure:
    """Every registered magnitude's h and every registered angle's g."""
    with styled(theme) as look:
        series = look.series
        magnitude_lines = [
            (_halves(op := Operator(name))[0], op, series[i % len(series)])
            for i, name in enumerate(magnitudes)
        ]
        first = next(iter(magnitudes))
        angle_lines = [
            (_halves(op := Operator(first, name))[1], op, series[i % len(series)])
            for i, name in enumerate(angles)
        ]
        return _functions(magnitude_lines, angle_lines, look, plain=False)


def operator_geometry(names: Names, theme: ThemeName = "light") -> Figure:
    """f(w, x) for w = (1, 0) over x in [-2, 2]², the inner product first, on one colour scale."""
    responses = _responses(known_operators(_operators(names)))
    limit = max(float(np.abs(response).max()) for response in responses.values())
    with styled(theme) as look:
        rows, columns = grid(len(responses), 4)
        side = min(0.85 * WIDTH / columns, 2.2)
        figure = Figure(figsize=(WIDTH, rows * (side + 0.42) + 0.7))
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        colours = _colours(names, look)
        images = []
        for axes, (name, response) in zip(panels, responses.items(), strict=False):
            images.append(_geometry_panel(axes, response, limit, look))
            axes.set_title("inner product" if name == BASELINE else name, color=colours[name])
        for axes in panels[len(responses) :]:
            axes.set_axis_off()
        bar = figure.colorbar(images[0], ax=list(panels), orientation="horizontal", aspect=50, fraction=0.05)
        bar.set_label("f(w, x) for w = (1, 0), ρ = 1")
        bar.outline.set_visible(False)
        return figure


def _responses(operators: dict[str, Operator]) -> dict[str, NDArray[np.float64]]:
    """f(w, x) for w = (1, 0) on a grid of x, rows from low to high x₂; the plain inner product first."""
    side = torch.linspace(-2, 2, 121, dtype=torch.float64)
    x2, x1 = torch.meshgrid(side, side, indexing="ij")
    norm = torch.sqrt(x1**2 + x2**2)
    cosine = x1 / norm.clamp(min=1e-12)
    responses = {BASELINE: x1.numpy()}
    for name, operator in operators.items():
        responses[name] = (operator.h(norm, RADIUS) * _g(operator, cosine)).numpy()
    return responses


def _functions(
    magnitude_lines: Sequence[Line], angle_lines: Sequence[Line], look: Theme, plain: bool
) -> Figure:
    figure = Figure(figsize=(WIDTH, 2.8))
    left, right = figure.subplots(1, 2)
    norm = torch.linspace(0, _LARGEST_NORM, 301, dtype=torch.float64)
    curves = [(label, op.h(norm, RADIUS), colour) for label, op, colour in magnitude_lines]
    _lines(left, norm, curves, look, norm if plain else None)
    left.axvline(RADIUS, color=look.quiet, linewidth=1, linestyle=(0, (1, 2)), zorder=2)
    left.set(title="Magnitude h(‖x‖), ρ = 1", xlabel="‖x‖", xlim=(0, _LARGEST_NORM))
    ends = [(label, float(values[-1]), colour) for label, values, colour in curves]
    label_ends(left, ends + [(BASELINE, _LARGEST_NORM, look.baseline)] * plain)
    theta = torch.linspace(0, math.pi, 301, dtype=torch.float64)
    curves = [(label, _g(op, theta.cos()), colour) for label, op, colour in angle_lines]
    has_cosine = any(label == "cos" for label, _, _ in angle_lines)
    _lines(right, theta, curves, look, theta.cos() if plain and not has_cosine else None)
    right.set(title="Angle g(θ)", xlabel="θ", xlim=(0, math.pi), yticks=[-1, -0.5, 0, 0.5, 1])
    right.set_xticks(
        [0, math.pi / 4, math.pi / 2, 3 * math.pi / 4, math.pi], ["0", "π/4", "π/2", "3π/4", "π"]
    )
    # All angular functions end at −1, so labels at their ends could not be told apart; this corner is empty.
    box = {"frameon": True, "facecolor": look.background, "edgecolor": "none", "framealpha": 0.8}
    right.legend(loc="upper right", handlelength=2.6, **box)
    return figure


def _lines(
    axes: Axes,
    x: torch.Tensor,
    lines: Sequence[tuple[str, torch.Tensor, str]],
    look: Theme,
    plain: torch.Tensor | None,
) -> None:
    """Draw (label, values, colour) lines and, thin below them, the plain convolution's."""
    for index, (label, values, colour) in enumerate(lines):
        axes.plot(x, values, color=colour, linestyle=_DASHES[index % len(_DASHES)], zorder=3, label=label)
    if plain is not None:
        axes.plot(
            x, plain, color=look.baseline, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2, label=BASELINE
        )


def _merged(
    functions_: dict[str, str], operators: dict[str, Operator], colours: dict[str, str], look: Theme
) -> list[Line]:
    """One line per function: in its operator's colour, or in ink when several operators share it."""
    lines = []
    for function in dict.fromkeys(functions_.values()):
        owners = [name for name, value in functions_.items() if value == function]
        colour = colours[owners[0]] if len(owners) == 1 else look.ink
        lines.append((function, operators[owners[0]], colour))
    return lines


def _geometry_panel(axes: Axes, value: NDArray[np.float64], limit: float, look: Theme) -> AxesImage:
    extent = (-2.0, 2.0, -2.0, 2.0)
    colours = LinearSegmentedColormap.from_list("diverging", [look.negative, look.background, look.positive])
    image = axes.imshow(
        value, origin="lower", extent=extent, cmap=colours, vmin=-limit, vmax=limit, interpolation="bilinear"
    )
    # Between the round numbers, where bounded operators have plateaus without a contour of their own.
    levels = (np.arange(-8, 8) + 0.5) * limit / 8
    axes.contour(value, levels, extent=extent, colors=look.ink, linewidths=0.5, alpha=0.55)
    axes.annotate(
        "", (1, 0), (0, 0), arrowprops={"arrowstyle": "-|>", "color": look.ink, "shrinkA": 0, "shrinkB": 0}
    )
    axes.text(1.08, 0.1, "w", fontstyle="italic")
    axes.set_xticks([-2, 0, 2])
    axes.set_yticks([-2, 0, 2])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image
