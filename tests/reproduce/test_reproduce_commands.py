"""Tables on convergence, on features and after airbench, from the command to the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from decoupled_nets.cli.main import main
from decoupled_nets.experiment import job
from toy_tables import TOY as TOY_OF_AN_EPOCH
from toy_tables import quickly

TOY = [*TOY_OF_AN_EPOCH, "--epochs=2"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch)


def made(name: str, folder: Path, cells: str, *words: str) -> tuple[dict, str]:
    assert main(["reproduce", name, "--cells", cells, *TOY, *words, "--out", str(folder)]) == 0
    return json.loads((folder / "reproduction.json").read_text()), (folder / "report.html").read_text()


def test_convergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, page = made("cvpr2018-convergence", tmp_path, "conv,tanh-cos", "--lr=0.01")
    curves = found["ours"]["curve"]
    compared = json.loads((tmp_path / "comparison" / "results.json").read_text())
    assert {key: found[key] for key in ("environment", "seeds")} == {
        key: compared[key] for key in ("environment", "seeds")
    }
    assert found["environment"]["torch"] == torch.__version__
    assert found["margin"] == pytest.approx(100 * compared["margin"])
    kept = compared["runs"]
    for cell in ("conv", "tanh-cos"):
        runs = sorted((one for one in kept if one["operator"] == cell), key=lambda one: one["seed"])
        means = [100 * sum(epoch["val"] for epoch in one["history"]) / 2 for one in runs]
        assert curves[cell] == pytest.approx(means)
        assert not one_network_has_batch_norm(tmp_path, cell)
    first, *others = found["verdicts"]
    assert (first["cell"], first["against"], first["metric"]) == ("tanh-cos", "conv", "curve")
    assert first["ours"] == pytest.approx(sum(curves["tanh-cos"]) / 2 - sum(curves["conv"]) / 2)
    assert {one["verdict"] for one in others} == {"not made"}
    assert all(epoch in (1, 2) for epoch in found["ours"]["epochs_to_best"]["conv"])
    assert "intervals; the paper has no figures." in page
    assert "their intervals cover another draw of seeds alone" in page
    assert "Epochs to the baseline&#x27;s best" in page
    monkeypatch.setattr(job, "fit", None)  # nothing is trained again
    again, _ = made("cvpr2018-convergence", tmp_path, "conv,tanh-cos", "--lr=0.01")
    assert again["ours"] == found["ours"]


def one_network_has_batch_norm(folder: Path, cell: str) -> bool:
    from decoupled_nets.training import load_network

    place = next((folder / "comparison" / "runs").glob(f"{cell}-*-seed0"))
    return any("BatchNorm" in type(one).__name__ for one in load_network(place / "last.ckpt").modules())


def test_figure_1(tmp_path: Path) -> None:
    found, page = made("cvpr2018-figure1", tmp_path, "conv,ball-cos", "--lr=0.01")
    ours = found["ours"]
    for cell in ("conv", "ball-cos"):
        rows = zip(
            *(ours[name][cell] for name in ("decoupling", "norm_within", "angle_between")), strict=True
        )
        for decoupling, norm, angle in rows:
            assert decoupling == pytest.approx(norm + angle - 100)
            assert 0 <= norm <= 100
            assert 0 <= angle <= 100
    made_of = {(one["cell"], one["direction"]) for one in found["verdicts"] if one["verdict"] != "not made"}
    assert made_of == {("conv", "positive"), ("ball-cos", "positive"), ("ball-cos", "worse")}
    assert found["verdicts"][0]["ours"] == pytest.approx(sum(ours["decoupling"]["conv"]) / 2)
    assert (tmp_path / "features.png").stat().st_size > 5000
    assert "Scatter plots of two-dimensional features of conv and ball-cos" in page
    assert page.index("<h2>The figure</h2>") < page.index("<h2>The table</h2>")
    assert "conv: the norm&#x27;s share is larger within a class" in page


def test_airbench(tmp_path: Path) -> None:
    found, page = made("airbench", tmp_path, "conv,seg-cos", "--precision=32-true")
    assert found["verdicts"][3]["verdict"] in ("holds", "fails", "undecided")
    assert "Paper: " not in page
    config = json.loads((tmp_path / "comparison" / "results.json").read_text())["config"]
    assert (config["optimizer"], config["ema"], config["label_smoothing"]) == ("muon", 0.99, 0.2)
