"""Exported files: they run, agree with the network, and need nothing of this package."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import timm.layers
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.cli.main import main
from decoupled_nets.evaluation.trained import load_trained
from decoupled_nets.export import export_network, quantize_onnx
from decoupled_nets.export.formats import FORMATS, check_ops
from decoupled_nets.training import TrainConfig, train


def small(name: str = "cifar_vgg11", **options) -> nn.Module:
    return dn.create_model(name, 4, **{"width": 1 / 32, "operator": "tanh-cos", **options}).eval()


class Rows(nn.Module):
    """A network for one size only: it counts positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = dn.DecoupledConv2d(3, 2, 3, padding=1, operator="ball-cos")
        self.head = nn.Linear(2 * 8 * 8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).flatten(1))


class Fold(nn.Module):
    """A small network that takes any size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = dn.DecoupledConv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)).mean((2, 3))


def onnx() -> None:
    for package in FORMATS["onnx"].needs:
        pytest.importorskip(package)


@pytest.mark.parametrize("fuse", [True, False])
def test_programs(fuse: bool, tmp_path: Path) -> None:
    model = Fold().eval()
    done = export_network(model, tmp_path / "net.pt2", "pt2", image_size=(8, 8), fuse=fuse, rounds=2)
    assert done.dynamic_size
    assert done.reason == ""
    assert done.shapes == [(1, 3, 8, 8), (5, 3, 19, 14)]
    assert done.difference < 1e-5
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt2"]
    x = torch.rand(7, 3, 12, 9)
    torch.testing.assert_close(FORMATS["pt2"].run(done.path)(x), model(x))


def test_onnx(tmp_path: Path) -> None:
    onnx()
    model = Fold().eval()
    done = export_network(model, tmp_path / "net.onnx", image_size=(8, 8), rounds=2)
    assert done.dynamic_size
    assert done.difference < 1e-5
    import onnx as package

    graph = package.load(done.path).graph
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
    assert not any(node.metadata_props for node in graph.node)  # paths of this machine
    x = torch.rand(3, 3, 40, 33)
    with torch.no_grad():
        torch.testing.assert_close(FORMATS["onnx"].run(done.path)(x), model(x))


@pytest.mark.parametrize(
    ("name", "operator"),
    [pytest.param("modified_resnet18", "seg-sqcos", marks=pytest.mark.long), ("cifar_resnet32", "conv")],
)
def test_networks_to_onnx(name: str, operator: str, tmp_path: Path) -> None:
    onnx()
    done = export_network(
        small(name, operator=operator),
        tmp_path / "net.onnx",
        image_size=(32, 32),
        dynamic_size=False,
        rounds=2,
    )
    assert done.reason == "as asked for"
    assert done.difference < 1e-3 * done.scale


#: The other families have an example in other tests.
EVERY = [name for name in dn.list_models("*cifar_*") + dn.list_models("imagenet_*") if "vgg16" not in name]
LARGE = ("cifar_googlenet", "imagenet_googlenet", "imagenet_resnet18")


@pytest.mark.parametrize(
    "name",
    [
        "cifar_vgg11",
        *(
            pytest.param(n, marks=pytest.mark.long if n in LARGE else pytest.mark.sweep)
            for n in EVERY
            if n not in ("cifar_vgg11", "cifar_cnn9")
        ),
    ],
)
def test_networks_to_programs(name: str, tmp_path: Path) -> None:
    size = 224 if "imagenet_vgg" in name else 64 if "imagenet" in name else 32
    model = small(name, operator="ddf" if name.startswith("ddf") else "tanh-cos", width=1 / 16)
    done = export_network(model, tmp_path / "net.pt2", "pt2", image_size=size, dynamic_size=False, rounds=2)
    assert done.shapes == [(1, 3, size, size), (5, 3, size, size)]
    assert done.difference <= 1e-3 * done.scale
    assert done.scale > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no compiler")
def test_compiled_ahead_of_time(tmp_path: Path) -> None:
    done = export_network(Fold().eval(), tmp_path / "net.aoti.pt2", "aoti", image_size=(8, 8), rounds=2)
    assert done.difference < 1e-5
    assert FORMATS["aoti"].run(done.path)(torch.rand(3, 3, 8, 8)).shape == (3, 4)


def test_sizes_that_cannot_be_open(tmp_path: Path) -> None:
    done = export_network(Rows().eval(), tmp_path / "net.pt2", "pt2", image_size=(8, 8), rounds=2)
    assert not done.dynamic_size
    assert done.reason.startswith("other sizes fail: ")
    assert done.shapes == [(1, 3, 8, 8), (5, 3, 8, 8)]
    with pytest.raises(ValueError, match="height and width cannot be open"):
        export_network(Rows().eval(), tmp_path / "n.pt2", "pt2", image_size=(8, 8), dynamic_size=True)
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt2"]


def test_the_condition_of_an_exported_program_is_said(tmp_path: Path) -> None:
    """At 32×32 the last map of VGG is one position, for which torch.export makes an exception."""
    done = export_network(small(), tmp_path / "net.pt2", "pt2", image_size=32, rounds=2)
    assert re.fullmatch(r"torch\.export makes a program for some sizes only, those with .*", done.reason)
    assert re.search("height|width", done.reason)
    assert ".size()" not in done.reason


def test_padding_that_depends_on_the_size(tmp_path: Path) -> None:
    """Trying to leave such a size open can take minutes."""
    layers = timm.layers
    for layer in (layers.Conv2dSame(3, 4, 3, stride=2), dn.nn.DecoupledConv2dSame(3, 4, 3, stride=2)):
        model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        done = export_network(model, tmp_path / "net.pt2", "pt2", image_size=9, rounds=2)
        assert not done.dynamic_size
        assert done.reason == f"the padding of 0 ({type(layer).__name__}) depends on the size of the image"
        assert done.shapes == [(1, 3, 9, 9), (5, 3, 9, 9)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_types(dtype: torch.dtype, tmp_path: Path) -> None:
    model = Fold().eval().to(dtype)
    done = export_network(model, tmp_path / "net.pt2", "pt2", image_size=8, rounds=2)
    x = torch.rand(3, 3, 8, 8, dtype=dtype)
    got = FORMATS["pt2"].run(done.path)(x)
    assert got.dtype == dtype
    torch.testing.assert_close(got, model(x), atol=0.05, rtol=0.05)


def test_types_to_onnx(tmp_path: Path) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        with pytest.raises(ValueError, match=f"a model of {dtype} received; needed: float32 for onnx"):
            export_network(Fold().eval().to(dtype), tmp_path / "net.onnx")


def test_help_of_the_command(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert "File to write (default: beside the checkpoint" in " ".join(capsys.readouterr().out.split())


def test_a_file_that_computes_something_else_is_not_kept(tmp_path: Path, monkeypatch) -> None:
    wrong = FORMATS["pt2"]
    monkeypatch.setitem(
        FORMATS, "pt2", type(wrong)(wrong.suffix, wrong.write, lambda path: lambda x: torch.ones(len(x), 4))
    )
    with pytest.raises(ValueError, match="the file differs from the network by"):
        export_network(Fold().eval(), tmp_path / "net.pt2", "pt2", image_size=(8, 8))
    assert not list(tmp_path.iterdir())


def test_kernels_do_not_leak() -> None:
    class Raw(nn.Module):
        def forward(self, x):
            return torch.ops.decoupled_nets.patch_norm(x, [3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1, 1e-4)

    if not hasattr(torch.ops.decoupled_nets, "patch_norm"):
        pytest.skip("the kernels were not built")
    program = torch.export.export(Raw(), (torch.rand(1, 3, 8, 8),))
    with pytest.raises(ValueError, match=r"ops of \['decoupled_nets'\] found in the program"):
        check_ops(program)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown format 'onxx' \(did you mean 'onnx'\?\)"):
        export_network(Fold().eval(), tmp_path / "net", "onxx")
    with pytest.raises(ValueError, match=r"training mode received; needed: model\.eval\(\)"):
        export_network(Fold(), tmp_path / "net", "pt2")
    mixed = Fold().eval()
    mixed.norm.double()
    with pytest.raises(
        ValueError, match=r"a model of torch\.float32 and torch\.float64 received; needed: one type"
    ):
        export_network(mixed, tmp_path / "net", "pt2")
    with pytest.raises(ValueError, match="a folder; needed: the name of a file"):
        export_network(Fold().eval(), tmp_path, "pt2")
    features = small(features_only=True)
    with pytest.raises(ValueError, match="a model that gives a list received; needed: one tensor"):
        export_network(features, tmp_path / "net", "pt2", dynamic_size=False)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch) -> None:
    def half(program, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    (tmp_path / "net.pt2").write_bytes(b"old")
    kind = FORMATS["pt2"]
    monkeypatch.setitem(FORMATS, "pt2", type(kind)(kind.suffix, half, kind.run))
    with pytest.raises(KeyboardInterrupt):
        export_network(Fold().eval(), tmp_path / "net.pt2", "pt2", image_size=(8, 8), dynamic_size=False)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_compiled_models_and_grey_images_of_odd_size(tmp_path: Path) -> None:
    model = torch.compile(small(in_chans=1), backend="eager")
    options = {"in_chans": 1, "image_size": (33, 47), "dynamic_size": False, "rounds": 2}
    done = export_network(model, tmp_path / "net.pt2", "pt2", **options)
    assert done.shapes == [(1, 1, 33, 47), (5, 1, 33, 47)]
    assert done.difference < 1e-4


def test_missing_packages(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="without onnx and onnxscript and onnxruntime; needed: pip install"):
        export_network(Fold().eval(), tmp_path / "net.onnx")


def test_int8(tmp_path: Path) -> None:
    onnx()
    model = Fold().eval()
    export_network(model, tmp_path / "net.onnx", image_size=(8, 8), dynamic_size=False, rounds=2)
    images = torch.rand(40, 3, 8, 8)
    path = quantize_onnx(tmp_path / "net.onnx", tmp_path / "int8.onnx", images)
    with torch.no_grad():
        expected = model(images)
    gap = (FORMATS["onnx"].run(path)(images) - expected).abs().max()
    assert 0 < gap < 0.05 * expected.abs().max()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["int8.onnx", "net.onnx"]
    with pytest.raises(ValueError, match="0 images received"):
        quantize_onnx(tmp_path / "net.onnx", path, images[:0])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(
        TrainConfig.of(data="synthetic", width=0.03, epochs=1, batch_size=32, train_size=64, test_size=32),
        folder, quiet=True,
    )  # fmt: skip
    return folder


def test_the_command(run: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "net.pt2"
    arguments = ["--format", "pt2", "--out", str(out), "--dynamic-size", "false"]
    assert main(["export", str(run), *arguments]) == 0
    said = capsys.readouterr().out
    assert "largest difference" in said
    assert "Time relative to eager mode" in said
    trained = load_trained(run / "best.ckpt")
    images = torch.rand(4, trained.in_chans, *trained.image_size)
    with torch.no_grad():
        torch.testing.assert_close(
            FORMATS["pt2"].run(out)(images), trained.network(images), atol=1e-4, rtol=1e-4
        )


def test_places(run: Path, tmp_path: Path, capsys) -> None:
    assert load_trained(run).image_size == load_trained(run / "last.ckpt").image_size
    saved = dn.save_pretrained(load_trained(run).network, tmp_path / "saved")
    assert load_trained(saved).in_chans == 3
    assert load_trained(saved).image_size == (32, 32)
    assert main(["export", str(tmp_path)]) == 2
    assert "holds neither best.ckpt nor last.ckpt nor config.json" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none.ckpt")]) == 2
    assert "does not exist" in capsys.readouterr().err
