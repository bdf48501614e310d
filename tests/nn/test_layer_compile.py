"""Layers under torch.compile and torch.export."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import decoupled_nets as dn


def network(**options):
    return nn.Sequential(
        dn.DecoupledConv2d(3, 4, 4, padding="same", **options),
        dn.DecoupledConv2d(4, 6, 3, stride=2, padding=1, padding_mode="reflect", groups=2, **options),
        nn.Flatten(),
        dn.DecoupledLinear(72, 5, **options),
    )


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


SETTINGS = [
    {},
    {"operator": dn.Operator("seg", "sigmoid", k="learned"), "radius": "learned", "weighting": "product"},
    {"operator": "ball-linear", "radius": 1.5, "weighting": "separate"},
]


@pytest.mark.filterwarnings(r"ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("options", SETTINGS, ids=["relative", "learned", "number"])
def test_compiled_training_steps_are_the_eager_ones_without_recompiling(near, options):
    eager = network(**options)
    twin = copy.deepcopy(eager)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(twin, backend=counter, fullgraph=True)
    for step in range(3):
        x = torch.randn(2, 3, 8, 6)
        expected, actual = eager(x), compiled(x)
        near(actual, expected, name=f"step {step}")
        expected.square().sum().backward()
        actual.square().sum().backward()
    assert counter.frame_count == 1
    for (name, p), q in zip(eager.named_parameters(), twin.parameters(), strict=True):
        near(q.grad, p.grad, name=name)
    for (name, p), q in zip(eager.named_buffers(), twin.buffers(), strict=True):
        near(q, p, name=name)


def test_compiled_layer_changes_to_evaluation(near):
    layer = dn.DecoupledConv2d(3, 4, 3)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, backend=counter, fullgraph=True)
    x = torch.randn(2, 3, 8, 6)
    for _ in range(2):
        compiled(x)
    layer.eval()
    for _ in range(2):
        near(compiled(x), layer(x))
    assert layer.num_updates == 2
    assert counter.frame_count == 2


@pytest.mark.parametrize("options", SETTINGS, ids=["relative", "learned", "number"])
def test_export_of_an_evaluated_layer(near, options):
    layer = dn.DecoupledConv2d(3, 8, 3, padding=1, stride=2, **options).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(layer, (torch.randn(2, 3, 8, 7),), dynamic_shapes=({0: batch},))
    for size in (1, 5):
        x = torch.randn(size, 3, 8, 7)
        near(exported.module()(x), layer(x))
