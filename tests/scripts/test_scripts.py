"""The scripts whose tables stand in docs/: what they write of made-up results, and small runs of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.data import DataConfig, load_data

ROOT = Path(__file__).parents[2]


def cells(text: str) -> list[list[str]]:
    """The cells of every line of the tables in a page."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]


def table(text: str) -> list[dict[str, str]]:
    """The first table, each line by its headings."""
    head, *rows = cells(text[text.index("\n|") :].strip().partition("\n\n")[0])
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_networks():
    """Counted here, and as the page has it."""
    import zoo_table

    model = dn.create_model("cnn9", 10)
    own = dict(zip(zoo_table.COLUMNS, cells(zoo_table.row("cnn9"))[0], strict=True))
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert own["Network"] == "`cnn9`"
    assert own["Decoupled layers"] == "10"
    assert own["Weights in them"] == f"{sum(m.weight.numel() for m in convolutions):,}"
    plain = sum(p.numel() for p in model.parameters())
    kernels = sum(m.out_channels for m in convolutions)
    assert own["Parameters, plain"] == f"{plain:,}"
    assert own["decoupled"] == f"{plain + kernels:,}"
    without = sum(p.numel() for p in dn.create_model("cnn9", 10, batch_norm=False).parameters())
    assert own["plain without BN"] == f"{without:,}"
    page = {row["Network"]: row for row in table((ROOT / "docs" / "zoo.md").read_text(encoding="utf-8"))}
    assert page["`cnn9`"] == own
    listed = {n for n in dn.list_models() if not n.startswith("ddf_")} - zoo_table.ALIASES
    assert {f"`{name}`" for name in listed} <= set(page)


def test_exports():
    import sweep_export

    every = list(sweep_export.exports())
    assert len(every) == len(set(every))
    assert {name for name, _ in every} == set(dn.list_models()) - sweep_export.ALIASES
    assert {o for name, o in every if name == "cnn9"} == set(sweep_export.OPERATORS)
    lines = [
        {"network": "cnn9", "operator": "conv", "difference": 1e-6, "scale": 2.0},
        {"network": "cnn9", "operator": "ball-cos", "difference": 3e-6, "scale": 1.0},
        {"network": "cnn9", "operator": "tanh-cos", "error": "no such operator"},
    ]
    text = sweep_export.page(lines)
    (row,) = [row for row in table(text) if row["Network"] == "`cnn9`"]
    assert row["Operators exported"] == f"2 of {len(sweep_export.OPERATORS)}"
    assert (row["failed"], row["Largest relative difference"]) == ("1", "3.0e-06")
    assert "Failed: `cnn9` with tanh-cos: no such operator." in text


@pytest.mark.slow
def test_an_export_is_a_line(tmp_path):
    pytest.importorskip("onnxscript", reason="of the extra onnx")
    pytest.importorskip("onnxruntime", reason="of the extra onnx")
    import sweep_export

    line = sweep_export.attempt("cifar_vgg11", "ball-cos", str(tmp_path))
    assert (line["network"], line["operator"]) == ("cifar_vgg11", "ball-cos")
    assert 0 <= line["difference"] < 1e-4 * line["scale"]


@pytest.fixture(scope="module")
def data():
    sizes = {"train_size": 64, "val_size": 8, "test_size": 16, "image_size": 32}
    return load_data(DataConfig("synthetic", **sizes))


def test_converted_networks_in_training(data, monkeypatch):
    import convert_training as script

    monkeypatch.setitem(script.STEPS, "resnet18", 2)
    monkeypatch.setattr(
        script.timm,
        "create_model",
        lambda name, num_classes, in_chans: nn.Sequential(
            nn.Conv2d(in_chans, 4, 3),
            nn.BatchNorm2d(4),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, num_classes),
        ),
    )
    plain, ours = (script.measure("resnet18", arm, 0, data) for arm in ("plain", "ball-cos"))
    assert (plain["layers"], ours["layers"]) == (0, 1)
    assert ours["parameters"] == plain["parameters"] + 4
    assert 0 <= ours["accuracy"] <= 100
    lines = [
        {
            "network": "resnet18",
            "arm": arm,
            "seed": seed,
            "layers": 7,
            "parameters": 1234,
            "loss": loss,
            "accuracy": right,
        }
        for arm, seed, loss, right in (
            ("plain", 0, 1.0, 50.0),
            ("plain", 1, 2.0, 60.0),
            ("ball-cos", 0, 0.5, 53.0),
            ("ball-cos", 1, 0.7, 61.0),
        )
    ]
    first, second = table(script.page(lines, data))
    assert first["Against plain, points"] == "–"
    assert second == {
        "Network": "`resnet18`",
        "Converted to": "ball-cos",
        "Layers": "7",
        "Parameters": "1,234",
        "Steps": "2",
        "Seeds": "2",
        "Loss": "0.600 ± 0.141",
        "Accuracy, %": "57.0 ± 5.7",
        "Against plain, points": "+2.0 ± 1.4",
    }


def test_a_pretrained_start(monkeypatch):
    import pretrained_start as script

    x, y = torch.rand(64, 1, 28, 28), torch.arange(64) % 10
    monkeypatch.setattr(script, "images", lambda split: (x, y))
    monkeypatch.setattr(script, "BATCH", 32)
    monkeypatch.setattr(
        script, "make", lambda seed, operator: dn.create_model("cnn9", 10, 1, operator=operator, width=1 / 32)
    )
    plain = script.make(0, "conv")
    found = script.converted(lambda: plain, "ball-cos", None, "auto", 0)
    assert set(found) == {"error", "before", "after"}
    assert set(script.converted(lambda: plain, "ball-cos", None, None, 0)) == {"before", "after", "anew"}
    assert not any(isinstance(m, dn.DecoupledConv2d) for m in plain.modules())  # a copy was converted
    names = list(script.arms(0))
    lines = [
        {
            "network": network,
            "start": start,
            "own": own,
            "seed": seed,
            "after": 70.0 + seed,
            "before": 20.0,
            "error": 0.5,
        }
        for network, start, own, _ in names
        for seed in (0, 2)
    ]
    rows = table(script.page(lines))
    assert len(rows) == len(names)
    assert rows[2] == {
        "Network": "`tanh-cos`",
        "Start": "converted",
        "Error": "0.50 ± 0.00",
        "Accuracy at the start": "20.0 ± 0.0",
        "after training": "71.0 ± 1.4",
        "anew": "–",
        "epochs of its own": "1",
    }


def test_what_a_radius_costs(tmp_path):
    import _calibration_page as page

    shared = {
        "images": {"street": 3, "blood": 2},
        "calibration": 8,
        "by_source": {"street": 80.0, "blood": 60.0},
    }
    lines = [
        {"operator": "plain", "setting": "bfloat16", "kept": 99.0, "error": 0.01, **shared},
        {
            "operator": "ball-cos",
            "setting": "radius 4",
            "kept": 70.0,
            "error": 0.3,
            "radius": 4.0,
            "radii": [4.0, 4.0],
            "seconds": 3.0,
            "notes": [],
            **shared,
        },
        {
            "operator": "ball-cos",
            "setting": "default",
            "kept": 90.0,
            "error": 0.125,
            "radius": 6.0,
            "radii": [1.0, 9.0],
            "seconds": 7.0,
            "notes": ["it bends"],
            **shared,
        },
    ]
    text = page.write(tmp_path / "calibration.md", lines).read_text(encoding="utf-8")
    rows = {(row["Operator"], row["Setting"]): row for row in table(text)}
    default = rows["`ball-cos`", f"**default** (tolerance {page.TOLERANCE:g})"]
    assert default["Radius"] == "6.0 (1.0 to 9.0)"
    assert (default["Error"], default["Labels kept, %"]) == ("0.125", "90.0")
    assert (default["street"], default["blood"]) == ("80", "60")
    assert rows["plain", "bfloat16"]["Radius"] == "–"
    assert "- `ball-cos`: it bends." in text
    assert "four times over its images" in text
    assert "measured on 5 others:\n3 of `street`, 2 of `blood`." in text
    assert (tmp_path / "images" / "calibration.png").is_file()


def test_converting_every_network(monkeypatch):
    import sweep_convert as script

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 10),
        )

    monkeypatch.setattr(script, "working", lambda name: (build, torch.randn(2, 3, 16, 20)))
    result = script.check("timm/small")
    assert result["problem"] is None
    row = script.row(result)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "timm/small",
        "0.0 M",
        "16×20",
        "1",
        "1 1×1",
        "3",
        "",
    ]
    monkeypatch.setattr(dn, "revert", lambda model: 0)
    broken = script.check("timm/small")
    assert "not every layer was reverted" in broken["problem"]
    text = script.page([{**result, "family": "a"}, broken])
    assert "2 networks of 1 families" in text
    assert "1 pass," in text


@pytest.mark.long
def test_eight_bits(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="of the extra onnx")
    pytest.importorskip("onnxscript", reason="of the extra onnx")
    import int8_accuracy as script

    options = argparse.Namespace(epochs=1, train_size=256, folder=tmp_path)
    text = script.row("ball-cos", options)
    head = cells(script.HEADER)[0]
    row = dict(zip(head, cells(text)[0], strict=True))
    assert row["PyTorch, %"] == row["ONNX, %"]
    assert float(row["lost, points"]) == pytest.approx(
        float(row["PyTorch, %"]) - float(row["int8, %"]), abs=0.11
    )
    float_size, int_size = (row[name] for name in ("size, kB", "int8"))
    assert float(float_size.replace(",", "")) > float(int_size.replace(",", ""))


def test_cosines_are_those_of_patches_and_kernels():
    import cosines

    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    network, images = nn.Sequential(layer), torch.rand(3, 4, 9, 8)
    ((name, found),) = cosines.cosines(network, images)
    patches = nn.functional.unfold(images, 3, padding=1, stride=2).unflatten(1, (2, 18))
    kernels = layer.weight.detach().flatten(1).unflatten(0, (2, 3))
    expected = torch.einsum("bgkp,gck->bgcp", patches, kernels)
    expected = expected / (patches.norm(dim=2)[:, :, None] * kernels.norm(dim=2)[None, :, :, None])
    assert name == "0"
    torch.testing.assert_close(found.sort().values, expected.flatten().sort().values)


def test_straightness_of_angular_functions():
    import cosines

    small, wide = torch.linspace(-0.2, 0.2, 101), torch.linspace(-1, 1, 101)
    assert cosines.straightness(small, "linear") > 0.99999 > cosines.straightness(wide, "linear")
    assert cosines.straightness(small, "sqcos") < 0.96
    cells_of = [cell.strip() for cell in cosines.row("x", small).strip("|").split("|")]
    assert cells_of[:3] == ["`x`", "0.100", "0.200"]


def test_upsampler_cost(monkeypatch, tmp_path):
    """Checked first, then ratios to nearest-neighbour interpolation, whose own are 1."""
    import sys

    import upsampler_cost

    arguments = ["--channels", "8", "--size", "6", "8", "--guidance-channels", "4", "--rounds", "3"]
    arguments += ["--upsamplers", "ddf", "transposed", "pac", "--out", str(tmp_path / "cost.json")]
    monkeypatch.setattr(sys, "argv", ["upsampler_cost", *arguments])
    content = upsampler_cost.main()
    assert json.loads((tmp_path / "cost.json").read_text()) == content
    first, *others = content["results"]
    assert [entry["upsampler"] for entry in content["results"]] == ["nearest", "ddf", "transposed", "pac"]
    assert first["forward"]["median"] == first["training"]["median"] == 1
    assert first["forward_peak_bytes"] == 8 * 12 * 16 * 4
    assert others[0]["parameters"] == sum(p.numel() for p in dn.upsampler("ddf", 8, 2, 4).parameters())
    assert all(entry["forward_peak_bytes"] > first["forward_peak_bytes"] for entry in (others[0], others[2]))
    assert all(0 < entry["error"] < 1e-5 for entry in others if entry["upsampler"] != "transposed")
    assert upsampler_cost.table(content["results"]).count("\n") == 5

    class Wrong(nn.Module):
        def forward(self, x, g, size=None):
            return x * (1 + 1e-3 * (x.dtype == torch.float32))

    with pytest.raises(ValueError, match="mine differs from itself in float64 by"):
        upsampler_cost.checked("mine", Wrong(), torch.ones(1, 2, 2, 2), torch.ones(1, 2, 2, 2))
