"""What single operators answer to inputs of two dimensions: numbers beside the picture of their geometry."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..functional import decoupled_conv2d
from ..models.layers import PLAIN
from ..reports.pictures import Picture
from ..reports.sections.operators import functions_of, geometry_of
from .table import Table

_KERNEL = torch.tensor([1.0, 0.0], dtype=torch.float64)
_ANGLES = torch.linspace(0, math.pi, 1801, dtype=torch.float64)  # a tenth of a degree apart
_LARGEST = 2.0  # radii, as far as the picture goes


def answered(table: Table, cells: list[str]) -> dict[str, dict[str, list[float]]]:
    """By metric and cell, computed by the package's own convolution with w = (1, 0) and ρ = 1.

    ``near`` and ``far`` are answers to inputs along w of norms 1/2 and 10. ``half`` is the angle at which
    half of the answer to an input of norm 1 is left, in degrees. ``apart`` is how far answers are at most
    from those of an inner product after each input was moved along its ray: to the norm that gives the same
    answer along w.

    Args:
        table: whose cells name operators.
        cells: which of them.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in table.metrics}
    for cell in cells:
        operator = str(table.cells[cell]["operator"])
        along = answers(operator, torch.tensor([0.5, 10.0], dtype=torch.float64), torch.zeros(1))
        around = answers(operator, torch.ones(1, dtype=torch.float64), _ANGLES)[0]
        norms = torch.linspace(0.1, _LARGEST, 20, dtype=torch.float64)
        plane = answers(operator, norms, _ANGLES)
        numbers = {
            "near": float(along[0]),
            "far": float(along[1]),
            "half": math.degrees(float(_ANGLES[int((around <= around[0] / 2).double().argmax())])),
            "apart": float((plane - plane[:, :1] * _ANGLES.cos()).abs().max()),
        }
        for name in table.metrics:
            found[name][cell] = [numbers[name]]
    return found


def answers(operator: str, norms: Tensor, angles: Tensor) -> Tensor:
    """f(w, x) for every norm of x and every angle between w and x, (norms, angles)."""
    rays = torch.stack([angles.cos(), angles.sin()], -1).to(torch.float64)
    inputs = (norms[:, None, None] * rays).reshape(-1, 2, 1, 1)
    weight = _KERNEL.reshape(1, 2, 1, 1)
    if operator == PLAIN:
        found = nn.functional.conv2d(inputs, weight)
    else:
        found = decoupled_conv2d(inputs, weight, operator=operator, radius=1.0, eps=1e-12)
    return found.reshape(len(norms), len(angles))


def pictures_of(table: Table, cells: list[str]) -> list[Picture]:
    """The functions and the answers of the cells' operators, as a comparison draws them."""
    names = {cell: str(table.cells[cell]["operator"]) for cell in cells}
    return [functions_of(names), geometry_of(names)]
