"""Layers under torch.compile and torch.export."""

from __future__ import annotations

import copy
import math
import re
import shutil

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor.utils import run_and_get_code

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


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "options",
    [SETTINGS[0], *(pytest.param(options, marks=pytest.mark.sweep) for options in SETTINGS[1:])],
    ids=["relative", "learned", "number"],
)
def test_another_batch_size_recompiles_once(near, options, training):
    """The second size makes the batch size a variable; every later one is a value of it."""
    eager = dn.DecoupledConv2d(3, 4, 3, stride=2, padding=1, **options).train(training)
    twin = copy.deepcopy(eager)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(twin, backend=counter, fullgraph=True)
    for batch, frames in ((2, 1), (2, 1), (3, 2), (5, 2), (7, 2), (2, 2)):
        x = torch.randn(batch, 3, 8, 6)
        actual = compiled(x)
        near(actual, eager(x))
        actual.sum().backward()
        assert counter.frame_count <= frames


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="Inductor needs a compiler")
def test_registered_functions_become_one_loop(near):
    """All that follows the convolution is one kernel, which writes one tensor of the output's size."""
    layer = dn.DecoupledConv2d(4, 8, 3, padding=1, operator="test_root-test_cubic", radius="learned").eval()
    x = torch.randn(2, 4, 9, 7)
    with torch.no_grad():
        out, (code,) = run_and_get_code(torch.compile(layer, fullgraph=True), x)
        near(out, layer(x))
    _, _, after = code.partition("def call(")[2].partition("extern_kernels.convolution(")
    after = after.partition("return ")[0]
    assert len(re.findall(r"^ *cpp_fused\w+\(", after, re.MULTILINE)) == 1, after
    sizes = re.findall(r"empty_strided_cpu\(\(([\d, ]+)\)", after)
    assert sum(math.prod(map(int, size.split(","))) >= out.numel() for size in sizes) == 1, after
    assert "extern_kernels" not in after


@pytest.mark.parametrize("options", SETTINGS, ids=["relative", "learned", "number"])
def test_export_of_an_evaluated_layer(near, options):
    layer = dn.DecoupledConv2d(3, 8, 3, padding=1, stride=2, **options).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(layer, (torch.randn(2, 3, 8, 7),), dynamic_shapes=({0: batch},))
    for size in (1, 5):
        x = torch.randn(size, 3, 8, 7)
        near(exported.module()(x), layer(x))
