"""Figures that need no training: what networks consist of, and what a forward pass takes."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..networks import build
from ..training import TrainConfig
from .metrics import METRICS
from .table import Hypothesis, Table
from .verdict import Verdict, paper_difference

_CLASSES, _CHANNELS = 1000, 3  # of ImageNet, which all counted tables are about


def counted(table: Table, cells: list[str]) -> dict[str, dict[str, list[float]]]:
    """By metric and cell: parameters in millions, multiply-adds of one image in billions.

    Args:
        table: whose `image_size` says how large the image is.
        cells: which of its networks.
    """
    size = int(table.options["image_size"])
    found: dict[str, dict[str, list[float]]] = {name: {} for name in table.metrics}
    for cell in cells:
        config = TrainConfig.of(**table.cells[cell])
        network = build(config.network, config.operator, _CLASSES, _CHANNELS).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, _CHANNELS, size, size))
        numbers = {
            "parameters": sum(p.numel() for p in network.parameters()) / 1e6,
            "multiply_adds": counter.get_total_flops() / 2 / 1e9,
        }
        for name in table.metrics:
            found[name][cell] = [numbers[name]]
    return found


def judge_counted(table: Table, one: Hypothesis, ours: dict[str, dict[str, list[float]]]) -> Verdict:
    """The verdict on a hypothesis about counted figures, which do not scatter."""
    paper, cells = paper_difference(table, one), ours[one.metric]
    if one.cell not in cells or one.against not in cells:
        return Verdict(one, "not made", paper, None, "not both cells were counted")
    gain = METRICS[one.metric].gain(cells[one.cell][0], cells[one.against][0])
    holds = gain > 0 if one.direction == "better" else gain < 0
    return Verdict(one, "holds" if holds else "fails", paper, None, "", exact=gain)
