"""ONNX files where there is neither torch nor this package, and networks of dynamic filters as such files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.export import export_network
from decoupled_nets.export.formats import FORMATS

for package in FORMATS["onnx"].needs:
    pytest.importorskip(package)

PROGRAM = """
import sys
import numpy, onnxruntime

folder = sys.argv[1]
session = onnxruntime.InferenceSession(folder + "/net.onnx", providers=["CPUExecutionProvider"])
(put,) = session.get_inputs()
for batch in ("1", "6"):
    (got,) = session.run(None, {put.name: numpy.load(folder + "/in" + batch + ".npy")})
    numpy.save(folder + "/out" + batch + ".npy", got)
assert not {"torch", "decoupled_nets", "onnx"} & {name.partition(".")[0] for name in sys.modules}
"""


def awake(model: nn.Module) -> nn.Module:
    """Residual branches of timm begin with a BatchNorm of zeros at their end: what they compute is hidden."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return model.eval()


def converted() -> nn.Module:
    model = timm.create_model("test_resnet", num_classes=4)
    assert dn.convert(model, "tanh-cos").converted
    return model


MODELS = {
    "cnn9": lambda: dn.create_model("cnn9", 4, operator="tanh-cos", width=1 / 16),
    "ddf": lambda: dn.create_model("ddf_cifar_resnet26", 4, operator="ddf", width=1 / 16),
    "converted": converted,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "converted" else [pytest.mark.long]) for name in MODELS]
)
def test_without_torch(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = awake(MODELS[name]())
    export_network(model, tmp_path / "net.onnx", dynamic_size=False, rounds=2)
    images = {batch: torch.rand(batch, 3, 32, 32) for batch in (1, 6)}
    for batch, x in images.items():
        np.save(tmp_path / f"in{batch}.npy", x.numpy())
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], check=True)
    for batch, x in images.items():
        with torch.no_grad():
            expected = model(x)
        got = torch.from_numpy(np.load(tmp_path / f"out{batch}.npy"))
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "operator", "size"),
    [
        pytest.param("ddf_cifar_resnet26", "ddf-mul", 16, marks=pytest.mark.long),
        ("ddf_cifar_resnet26", "ddf-add", 16),
        pytest.param("ddf_resnet18", "ddf-mul", 64, marks=pytest.mark.long),
        pytest.param("ddf_resnet18", "ddf-add", 64, marks=pytest.mark.long),
    ],
)
def test_dynamic_filters(name: str, operator: str, size: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = awake(dn.create_model(name, 4, operator=operator, width=1 / 16))
    quiet = dn.create_model(name, 4, operator=operator, width=1 / 16).eval()
    quiet.load_state_dict(model.state_dict())
    for module in quiet.modules():
        if isinstance(module, dn.DDF2d):
            module.register_forward_hook(lambda module, args, out: torch.zeros_like(out))
    images = (size, size)
    done = export_network(model, tmp_path / "net.onnx", image_size=images, dynamic_size=False, rounds=2)
    assert done.difference < 1e-3 * done.scale
    x = torch.rand(3, 3, *images)
    with torch.no_grad():
        expected = model(x)
        assert (quiet(x) - expected).abs().max() > 10 * done.difference  # filters count
        got = FORMATS["onnx"].run(done.path)(x)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    import onnx

    assert {node.domain for node in onnx.load(done.path).graph.node} <= {"", "ai.onnx"}
