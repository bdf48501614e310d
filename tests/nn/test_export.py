"""torch.export of layers and networks: plain ATen, with open batch and spatial sizes, in both modes."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from export_cases import Beside, namespaces
from layer_cases import LAYERS, make, sample
from torch.export import Dim

import decoupled_nets as dn
from decoupled_nets.ops.decoupled.operator import WEIGHTINGS

SIGMOID = dn.Operator("seg", "sigmoid", k="learned")
OPTIONS = {
    "relative": {},
    "learned": {"operator": SIGMOID, "radius": "learned", "weighting": "product"},
    "splines": {"operator": dn.Operator("spline", "spline", channel_groups=2, constraints="monotone")},
    "number": {"operator": "ball-sqcos", "radius": 1.5, "weighting": "separate"},
}


def export(module, x, least=4):
    """Every dimension but the channels is left open, from `least` on, which gives two positions of output.

    As everywhere in torch.export, a size of 1 is a case of its own.
    """
    shapes = {
        axis: Dim(f"size_{axis}", min=least if axis else 2, max=64) for axis in range(x.dim()) if axis != 1
    }
    return torch.export.export(module, (x,), dynamic_shapes=(shapes,))


def larger(name, *batch):
    """Another batch of other spatial sizes."""
    channels, *size = LAYERS[name][3]
    return torch.randn(*batch, channels, *(n + 3 for n in size))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(
            name, options, id=f"{name}-{key}",
            # Every layer, and every setting of one of them.
            marks=[] if name == "conv2d" or key == "relative" else [pytest.mark.sweep],
        )
        for name, (key, options) in itertools.product(LAYERS, OPTIONS.items())
    ],
)  # fmt: skip
def test_evaluated_layer(near, name, options):
    layer = make(name, **options).eval()
    program = export(layer, sample(name, 3), 3 if name == "conv3d" else 4)
    assert namespaces(program) == {"aten"}
    plain = program.run_decompositions()
    assert namespaces(plain) == {"aten"}
    for x in (sample(name, 2), larger(name, 5)):
        near(program.module()(x), layer(x))
        near(plain.module()(x), layer(x))


GEOMETRIES = [
    {"padding": "same", "kernel_size": 4},
    {"padding": 2, "padding_mode": "reflect", "groups": 2},
    {"padding": (1, 0), "stride": (2, 1), "dilation": (1, 2)},
]


@pytest.mark.filterwarnings(r"ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
def test_geometries(near, options):
    layer = dn.DecoupledConv2d(4, 6, **{"kernel_size": 3, **options}).eval()
    program = export(layer, torch.randn(3, 4, 8, 7), 6)
    assert namespaces(program.run_decompositions()) == {"aten"}
    for x in (torch.randn(2, 4, 6, 9), torch.randn(5, 4, 11, 8)):
        near(program.module()(x), layer(x))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", ["conv2d", "linear"])
def test_training_layer(near, name, options):
    """Also the average of a relative radius moves in the program as it does in the layer."""
    layer = make(name, **options)
    twin = copy.deepcopy(layer)
    program = export(layer, sample(name, 3))
    # A region without gradients is a node of its own until then.
    assert namespaces(program.run_decompositions()) == {"aten"}
    exported = program.module()
    for x in (sample(name, 2), larger(name, 5)):
        near(exported(x), twin(x))
    moved = dict(exported.named_buffers())
    for key, value in twin.named_buffers():
        near(moved[key], value, name=key)
        assert key != "num_updates" or value == 2
    x = sample(name, 2)
    expected = torch.autograd.grad(twin(x).square().sum(), list(twin.parameters()))
    actual = torch.autograd.grad(exported(x).square().sum(), list(exported.parameters()))
    for got, want in zip(actual, expected, strict=True):
        near(got, want)


def test_weightings_and_registered_functions(near):
    layers = [make("conv2d", operator="mix-linear", weighting=w) for w in (None, *WEIGHTINGS)]
    module = Beside([*layers, make("conv2d", operator="test_root-test_cubic")]).eval()
    program = export(module, sample("conv2d", 3))
    assert namespaces(program) == {"aten"}
    x = larger("conv2d", 2)
    for got, want in zip(program.module()(x), module(x), strict=True):
        near(got, want)


@pytest.mark.parametrize(
    "options",
    [{"operator": "tanh-cos"}, {"operator": "seg-sigmoid", "batch_norm": False, "relu": False}],
    ids=["BatchNorm", "bare"],
)
def test_network(near, options):
    network = dn.create_model("cnn9", num_classes=5, width=0.05, **options).eval()
    shapes = ({0: Dim("batch", min=1, max=512)},)
    program = torch.export.export(network, (torch.randn(3, 3, 28, 28),), dynamic_shapes=shapes)
    assert namespaces(program) == {"aten"}
    for batch in (1, 4):
        images = torch.randn(batch, 3, 28, 28)
        near(program.module()(images), network(images))


def test_saved_and_loaded(near, tmp_path):
    layer = make("conv2d").eval()
    torch.export.save(export(layer, sample("conv2d", 3)), tmp_path / "layer.pt2")
    x = sample("conv2d", 2)
    near(torch.export.load(tmp_path / "layer.pt2").module()(x), layer(x))


def test_an_exported_power_is_one_operation():
    """What gives it right second derivatives in training is of no use to a program."""
    layer = dn.DecoupledConv2d(4, 4, 3, padding=1, operator="power").eval()
    names = [str(node.target) for node in export(layer, torch.rand(2, 4, 8, 8)).graph.nodes]
    assert sum(".pow" in name for name in names) >= 2
    assert not any("aten.log" in name or "aten.exp." in name or "aten.where" in name for name in names)
