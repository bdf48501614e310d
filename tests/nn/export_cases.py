"""What the tests of exporters share: which ops a program calls, and modules of several layers."""

from __future__ import annotations

import operator

import torch
from torch import nn

#: Python's functions by which a graph computes sizes and takes one of several results.
PYTHON = {operator.add, operator.sub, operator.mul, operator.floordiv, operator.getitem}


def namespaces(program: torch.export.ExportedProgram) -> set[str]:
    """Libraries of the ops that the program calls, Python's own left out."""
    calls = {node.target for node in program.graph.nodes if node.op == "call_function"} - PYTHON
    return {getattr(target, "namespace", None) or str(target) for target in calls}


class Beside(nn.Module):
    """Several layers on one input: one program for many, as exporters are slow to start."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return tuple(layer(x) for layer in self.layers)
