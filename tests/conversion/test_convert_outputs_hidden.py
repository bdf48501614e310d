"""Layers that give the outputs, where outputs or the way to them are hidden from autograd's graph."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from test_convert_outputs import Net, conv, dense, outputs, three
from torch import nn
from torch.utils.checkpoint import checkpoint

import decoupled_nets as dn


@dataclasses.dataclass(slots=True)
class Prediction:
    """As outputs of a type of their own may be: without a dictionary."""

    mask: torch.Tensor
    edge: torch.Tensor


def decided(net, x):
    features = net.a(x)
    return net.b(features).argmax(1), net.c(features).argmax(1)


def with_slots(net, x):
    features = net.a(x)
    return Prediction(net.b(features), net.c(features))


@pytest.mark.parametrize("function", [decided, with_slots])
def test_outputs_without_a_gradient_or_a_dictionary(function):
    report = dn.convert(three(function))
    assert [f.name for f in report.converted] == ["a"]
    assert not report.notes


@pytest.mark.parametrize("reentrant", [True, False])
def test_outputs_under_gradient_checkpointing(reentrant):
    def function(net, x):
        return checkpoint(net.head, F.relu(net.a(x)), use_reentrant=reentrant)

    head = nn.Sequential(conv(4, 4), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 4))
    net = Net(function, a=conv(3, 4), head=head, unused=conv(4, 4))
    assert "head.3" in outputs(net)
    assert isinstance(head[0], dn.DecoupledConv2d)


def test_frozen_layers_give_outputs_like_others():
    """What adapts a frozen network may be all that is trained in it."""
    net = three(lambda net, x: net.c(F.relu(net.b(F.relu(net.a(x))))), extra=nn.Linear(2, 2))
    for layer in (net.a, net.b, net.c):
        layer.requires_grad_(False)
    assert outputs(net) == ["c"]


def test_the_note_has_the_first_error_of_a_run_in_earnest():
    class ByKey(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = conv(3, 4), conv(4, 4)

        def forward(self, batch):
            if not hasattr(batch, "keys"):
                raise TypeError(f"{type(batch).__name__} received; needed: a dictionary")
            return self.b(self.a(batch["x"]))

    (note,) = dn.convert(ByKey(), dry_run=True).notes
    assert "Tensor received; needed: a dictionary" in note


def test_a_compiled_part_compiles_nothing_to_find_outputs():
    compiled = []

    def backend(graph, example):
        compiled.append(graph)
        return graph.forward

    net = dense()
    net[0].compile(backend=backend)
    assert outputs(net) == ["4"]
    assert not compiled
