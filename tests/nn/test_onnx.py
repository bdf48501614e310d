"""ONNX by torch's own exporter: standard operators only, and in onnxruntime the numbers of PyTorch."""

from __future__ import annotations

import itertools

import pytest
import torch
from export_cases import Beside
from layer_cases import LAYERS, RADII, make, sample

import decoupled_nets as dn
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.ops.decoupled.magnitude import magnitudes
from decoupled_nets.ops.decoupled.operator import WEIGHTINGS

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def check(near, module, x, others, **options):
    """Export with an open batch size (or `dynamic_shapes`) and compare outputs for every other input."""
    options = {"dynamic_shapes": ({0: "batch"},), "optimize": False, **options}
    program = torch.onnx.export(module, (x,), dynamo=True, verbose=False, **options)
    assert {node.domain for node in program.model.graph} == {""}
    assert not program.model.functions
    assert {node.op_type for node in program.model.graph} & {"Conv", "MatMul", "Gemm"}
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (name,) = [value.name for value in session.get_inputs()]
    for other in others:
        with torch.no_grad():
            expected = module(other)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for got, want in zip(session.run(None, {name: other.numpy()}), expected, strict=True):
            near(torch.from_numpy(got), want)


def check_operators(near, pairs):
    """Layers of these magnitudes and angles, side by side.

    With a kernel of one tap and a fixed radius hardly anything but the operator is left: it is quicker so.
    """
    layers = [
        dn.DecoupledConv2d(
            4, 6, 1, operator=f"{magnitude}-{angle}",
            **({"radius": 1.5} if magnitudes[magnitude].uses_radius else {}),
        )
        for magnitude, angle in pairs
    ]  # fmt: skip
    others = [torch.randn(batch, 4, 2, 3) for batch in (1, 5)]
    check(near, Beside(layers).eval(), torch.randn(3, 4, 2, 3), others)


def test_every_magnitude_and_every_angle(near):
    longest = max(len(magnitudes), len(angles))
    around = (itertools.islice(itertools.cycle(names), longest) for names in (magnitudes, angles))
    check_operators(near, list(zip(*around, strict=True)))


@pytest.mark.sweep
@pytest.mark.parametrize("magnitude", magnitudes)
def test_every_operator(near, magnitude):
    check_operators(near, [(magnitude, angle) for angle in angles])


SIGMOID = dn.Operator("tanh", "sigmoid", k="learned")


@pytest.mark.parametrize(
    ("radius", "weighting"),
    [
        pytest.param(*pair, id="-".join(map(str, pair)), marks=[pytest.mark.sweep] if n > 1 else [])
        for n, pair in enumerate(zip(RADII, [None, *WEIGHTINGS], strict=True))
    ],
)
def test_radii_and_weightings(near, radius, weighting):
    options = {"radius": radius, "weighting": weighting}
    layers = [
        dn.DecoupledConv2d(4, 6, (2, 1), operator=operator, **options) for operator in (SIGMOID, "seg-cos")
    ]
    others = [torch.randn(batch, 4, 4, 3) for batch in (1, 5)]
    check(near, Beside(layers).eval(), torch.randn(3, 4, 4, 3), others)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_with_open_sizes(near, name):
    shapes = {axis: f"size_{axis}" for axis in range(sample(name, 1).dim()) if axis != 1}
    channels, *size = LAYERS[name][3]
    others = [sample(name, 1), torch.randn(5, channels, *(n + 3 for n in size))]
    # Without the optimiser onnxscript gives conv3d a bias of two dimensions (its issue 2931).
    check(near, make(name).eval(), sample(name, 3), others, dynamic_shapes=(shapes,), optimize=True)


def test_geometries(near):
    layers = [
        dn.DecoupledConv2d(4, 6, 3, padding="same", dilation=2),
        dn.DecoupledConv2d(4, 6, 3, padding=1, stride=2, groups=2, padding_mode="reflect"),
    ]
    others = [torch.randn(batch, 4, 6, 5) for batch in (1, 5)]
    check(near, Beside(layers).eval(), torch.randn(3, 4, 6, 5), others)


def test_network(near):
    network = dn.create_model("cnn9", num_classes=5, operator="tanh-cos", width=0.05).eval()
    others = [torch.rand(batch, 3, 28, 28) for batch in (1, 4)]
    check(near, network, torch.rand(3, 3, 28, 28), others, optimize=True)
