"""Every option of the export, by the file that is written."""

from __future__ import annotations

import pytest
import torch
from proofs import proves
from torch import nn

import decoupled_nets as dn
from decoupled_nets.cli import export as command
from decoupled_nets.cli.export import ExportConfig
from decoupled_nets.cli.main import main
from decoupled_nets.export import network as exporting
from decoupled_nets.export.checkpoints import Trained
from decoupled_nets.ops.decoupled.magnitude import magnitudes


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = dn.DecoupledConv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean((2, 3))


@pytest.fixture
def places(monkeypatch):
    """Where the network was looked for; it is another, trained on images of 8²."""
    seen = []
    trained = Trained(Net().eval(), 3, (8, 8))
    monkeypatch.setattr(command, "load_trained", lambda place: (seen.append(place), trained)[1])
    ratios = exporting.interleaved_ratios
    monkeypatch.setattr(exporting, "interleaved_ratios", lambda steps, rounds: ratios(steps, 2, 0))
    return seen


@proves(ExportConfig, "format", "fuse")
@proves("export", "checkpoint", "out")
def test_format_fuse_checkpoint_and_out(places, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "best.ckpt"
    for words, file, names in (
        ([], path.with_suffix(".pt2"), {"conv.kernel_norm", "conv.weight"}),
        (
            ["--no-fuse", "--out", str(tmp_path / "other.pt2")],
            tmp_path / "other.pt2",
            {"conv.weight", "conv.mean_norm"},
        ),
    ):
        assert main(["export", str(path), "--format", "pt2", *words]) == 0
        state = torch.export.load(file).state_dict
        assert names <= set(state)
        assert ("conv.kernel_norm" in state) == (not words)
        assert str(file) in capsys.readouterr().out
    assert places == [str(path)] * 2


@proves(ExportConfig, "format")
def test_another_format(places, tmp_path):
    onnx = pytest.importorskip("onnx", reason="of the extra onnx")
    pytest.importorskip("onnxruntime", reason="of the extra onnx")
    pytest.importorskip("onnxscript", reason="of the extra onnx")
    assert main(["export", str(tmp_path / "best.ckpt")]) == 0
    onnx.checker.check_model(onnx.load(tmp_path / "best.onnx"))


@proves(ExportConfig, "image_size", "dynamic_size")
@pytest.mark.parametrize(
    ("words", "size", "is_open"), [([], 8, True), (["--image-size", "12", "--no-dynamic-size"], 12, False)]
)
def test_image_size_and_open_size(words, size, is_open, places, tmp_path, capsys):
    path = tmp_path / "net.pt2"
    assert main(["export", "best.ckpt", "--format", "pt2", "--out", str(path), *words]) == 0
    out = capsys.readouterr().out
    assert f"Run on 1×3×{size}×{size}" in out
    assert ("Open sizes: batch, height and width" in out) == is_open
    run = torch.export.load(path).module()
    larger = torch.rand(2, 3, size + 5, size + 3)
    if is_open:
        assert run(larger).shape == (2, 4)
    else:
        with pytest.raises((RuntimeError, AssertionError)):
            run(larger)


@proves(ExportConfig, "plugin")
def test_plugin(places, tmp_path, monkeypatch):
    path = tmp_path / "exported.py"
    path.write_text(
        "import decoupled_nets as dn\n"
        "dn.register_magnitude('of_export', lambda norm, radius, alpha, beta: alpha * norm / radius)\n"
    )
    registered = []
    monkeypatch.setattr(
        command, "export_network", lambda *args, **more: registered.append("of_export" in magnitudes)
    )
    monkeypatch.setattr(command, "report", lambda done: "")
    for words in ([], ["--plugin", str(path)]):
        assert main(["export", "x", "--out", str(tmp_path / "x.pt2"), *words]) == 0
    dn.unregister_magnitude("of_export")
    assert registered == [False, True]
