"""Every option of the export, by the file that is written."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from proofs import proves
from torch import nn

import decoupled_nets as dn
from decoupled_nets.cli import export as command
from decoupled_nets.cli.export import ExportConfig
from decoupled_nets.cli.main import main
from decoupled_nets.evaluation import trained as checkpoints
from decoupled_nets.evaluation.trained import Trained
from decoupled_nets.export import network as exporting
from decoupled_nets.export.formats import FORMATS
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


@pytest.mark.parametrize("open_size", [True, False])
def test_the_report_says_what_was_measured(open_size, tmp_path):
    path = tmp_path / "net.pt2"
    path.write_bytes(bytes(2_340_000))
    done = exporting.Exported(
        path, "pt2", True, open_size, "" if open_size else "as asked for", [(1, 3, 8, 8), (5, 3, 19, 14)],
        1.3e-6, 3.5, exporting.Ratio(0.5, 0.25, 0.75),
    )  # fmt: skip
    sizes = "batch, height and width" if open_size else "batch (height and width: as asked for)"
    assert command.report(done).splitlines() == [
        f"Written to {path} (2.3 MB)",
        f"Open sizes: {sizes}",
        "Run on 1×3×8×8, 5×3×19×14: largest difference 1.3e-06, outputs up to 3.5",
        "Time relative to eager mode, batch 8: 0.50 (quartiles 0.25–0.75)",
    ]


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


def test_an_open_size_that_was_asked_for_is_tried_whatever_the_padding(tmp_path, monkeypatch):
    """By itself the export does not try one, which may take minutes."""
    tried = []

    def write(*args, open_size):
        tried.append(open_size)
        raise ValueError("too long")

    monkeypatch.setattr(exporting, "_write", write)
    model = nn.Sequential(dn.nn.DecoupledConv2dSame(3, 4, 3, stride=2)).eval()
    with pytest.raises(ValueError, match=r"^height and width cannot be open: other sizes fail: too long$"):
        exporting.export_network(model, tmp_path / "net.pt2", "pt2", dynamic_size=True)
    for option in (None, False):
        with pytest.raises(ValueError, match=r"^too long$"):
            exporting.export_network(model, tmp_path / "net.pt2", "pt2", dynamic_size=option)
    assert tried == [True, False, False]


def test_times_are_relative_to_the_network_in_eager_mode(tmp_path, monkeypatch):
    calls = []
    net = Net().eval()

    def ratios(steps, rounds):
        net.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
        ran = []
        for step in steps:
            calls.clear()
            step()
            ran.append(calls[:])
        assert ran == [[8], []]  # the network on a batch of eight, then the file
        return [exporting.Ratio(1.0, 1.0, 1.0), exporting.Ratio(0.5, 0.25, 0.75)]

    monkeypatch.setattr(exporting, "interleaved_ratios", ratios)
    done = exporting.export_network(net, tmp_path / "net.pt2", "pt2", image_size=8, fuse=False)
    assert done.speed.median == 0.5


def test_the_best_epoch_of_a_run_goes_before_its_last(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(checkpoints, "load_network", lambda place: (read.append(place.name), Net())[1])
    own = {"decoupled_nets": {"image_size": [8, 9], "in_chans": 3}}
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda place: own)
    for name in ("last.ckpt", "best.ckpt"):
        (tmp_path / name).touch()
        assert checkpoints.load_trained(tmp_path).image_size == (8, 9)
    assert read == ["last.ckpt", "best.ckpt"]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_onnx_file_runs_with_as_many_threads_as_torch(threads, tmp_path, monkeypatch):
    runtime = pytest.importorskip("onnxruntime", reason="of the extra onnx")
    seen = []

    def session(path, options, providers):
        seen.append(options.intra_op_num_threads)
        return SimpleNamespace(get_inputs=lambda: [SimpleNamespace(name="x")])

    monkeypatch.setattr(runtime, "InferenceSession", session)
    torch.set_num_threads(threads)
    FORMATS["onnx"].run(tmp_path / "net.onnx")
    assert seen == [threads]
