"""Tables of tasks other than classification, from the command to the page, on a few tiny images."""

from __future__ import annotations

import functools
import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from decoupled_nets.cli.main import main
from decoupled_nets.compare import CompareConfig
from decoupled_nets.compare.jobs import runs_of
from decoupled_nets.experiment import job
from decoupled_nets.reports.results import Run, Score
from decoupled_nets.reproduce.estimate import seconds_left
from decoupled_nets.reproduce.scores import scores_of
from decoupled_nets.tasks import find_task
from toy_tables import quickly

FEW = ["--epochs=1", "--seeds=2", "--jobs=1", "--accelerator=cpu", "--workers=0", "--batch-size=4"]
TINY = {
    "cvpr2021-table6": [
        "--cells=nearest,ddf", "--train-size=8", "--val-size=3", "--test-size=5", "--width=0.03",
        "--image-size=48", *FEW,
    ],
    "cvpr2021-table7": [
        "--cells=pac,ddf", "--train-size=4", "--val-size=2", "--test-size=4", "--width=0.125", "--crop=32",
        "--crops=1", "--lr=1e-4", *FEW,
    ],
    "cvpr2021-table3": [
        "--cells=both,squeeze-0.4", "--data=synthetic", "--image-size=16", "--train-size=32", "--val-size=20",
        "--test-size=20", "--width=0.08", "--tune=", *FEW,
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a table, which is made once."""

    @functools.cache
    def folder_of(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            quickly(patch)
            assert main(["reproduce", name, *TINY[name], "--out", str(folder)]) == 0
        return folder

    return folder_of


def read(folder: Path) -> dict:
    return json.loads((folder / "reproduction.json").read_text())


def results(folder: Path) -> dict:
    return json.loads((folder / "comparison" / "results.json").read_text())


def text_of(folder: Path) -> str:
    """The words of the page."""
    page = re.sub(r"(?s)<(style|script|svg).*?</\1>", " ", (folder / "report.html").read_text())
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_detection_is_judged_by_the_average_precision_that_the_runs_have(made: Callable[[str], Path]) -> None:
    found, runs = read(made("cvpr2021-table6")), results(made("cvpr2021-table6"))["runs"]
    assert found["paper"] == {"nearest": {"ap": 37.4}, "ddf": {"ap": 38.6}}
    for cell in ("nearest", "ddf"):
        values = [100 * run["test"]["value"] for run in runs if run["operator"] == cell]
        assert found["ours"]["ap"][cell] == pytest.approx(values, abs=1e-9)
    first, *others = found["verdicts"]
    assert (first["cell"], first["against"], first["paper"]) == ("ddf", "nearest", pytest.approx(1.2))
    means = {cell: sum(values) / 2 for cell, values in found["ours"]["ap"].items()}
    assert first["ours"] == pytest.approx(means["ddf"] - means["nearest"], abs=1e-9)
    assert {one["verdict"] for one in others} == {"not made"}
    said = text_of(made("cvpr2021-table6"))
    assert "Paper: AP, %" in said
    assert "Training accuracy" not in said
    assert "the last quarter changed the AP on validation images by at most one point" in said
    assert "within 0.5 points of 0" in said


def test_scores_have_the_metric_as_their_mean(tmp_path: Path) -> None:
    """A precision is no mean over images: pseudo-values are moved to it."""
    config = CompareConfig.of(
        task="detect", variants="a: operator=conv; b: operator=conv upsample=ddf", seeds=2
    )
    task, runs = find_task("detect")(["disc", "box"]), []
    for number, one in enumerate(runs_of(config)):
        drawn = torch.Generator().manual_seed(number)
        truth = torch.tensor([[10.0, 10, 30, 30, 0, 0], [30, 5, 50, 25, 1, 0]]).repeat(6, 1, 1)
        moved = truth[..., :4] + 3 * torch.rand(6, 2, 4, generator=drawn)
        score = torch.rand(6, 2, 1, generator=drawn)
        outcomes = task.outcomes(torch.cat([moved, score, truth[..., 4:5]], 2), truth)
        (tmp_path / one.name).mkdir(parents=True)
        save_file({"outcomes": outcomes}, tmp_path / one.name / "outcomes.safetensors")
        value = task.value(outcomes, 6)
        runs.append(Run(one.arguments["label"], one.config.machine.seed, 1, [], Score(value, 6)))
    found = scores_of(runs_of(config), runs, task, tmp_path)
    assert len({run.test.value for run in runs}) == 4
    for run in runs:
        own = found[run.operator][run.seed]
        assert own.shape == (6,)
        assert own.mean() == pytest.approx(run.test.value)
        assert own.std() > 0


def test_rows_without_training_stand_beside_depth_and_are_judged_on_the_same_images(
    made: Callable[[str], Path],
) -> None:
    folder = made("cvpr2021-table7")
    found, whole = read(folder), results(folder)
    ours = found["ours"]["rmse"]
    assert list(ours) == ["bicubic", "bicubic-placed", "bilateral", "pac", "ddf"]
    kept = {name.split(" (")[0]: score["value"] for name, score in whole["baselines"].items()}
    names = {"bicubic": "bicubic", "bicubic-placed": "bicubic, known sample positions",
             "bilateral": "joint bilateral"}  # fmt: skip
    for row, name in names.items():
        assert ours[row] == [pytest.approx(kept[name], abs=1e-6)]
    values = [run["test"]["value"] for run in whole["runs"] if run["operator"] == "pac"]
    assert ours["pac"] == pytest.approx(values, abs=1e-6)
    assert found["paper"]["bilateral"] == {"rmse": 4.07}
    verdicts = {(one["cell"], one["against"]): one for one in found["verdicts"]}
    for (cell, against), one in verdicts.items():
        mean, other = (sum(ours[row]) / len(ours[row]) for row in (cell, against))
        assert one["ours"] == pytest.approx(
            100 * (other - mean) / max(mean, other), abs=1e-6
        )  # less is better
        assert one["interval"] is not None
    assert verdicts["bilateral", "bicubic"]["paper"] == pytest.approx(100 * (8.16 - 4.07) / 8.16)
    assert verdicts["bilateral", "bicubic"]["verdict"] == "holds"  # on scenes of sharp edges
    assert verdicts["pac", "bilateral"]["verdict"] == "fails"  # after a step


def test_the_page_of_depth_has_the_papers_figures_and_what_differences_are_in(
    made: Callable[[str], Path],
) -> None:
    folder = made("cvpr2021-table7")
    said, ours = text_of(folder), read(folder)["ours"]["rmse"]
    assert re.search(rf"bicubic 8\.16 {ours['bicubic'][0]:.2f} – bicubic-placed – ", said)
    assert "in percent of the worse figure" in said
    assert "within 0.01 of the unit of the data of 0" in said
    assert "bilateral better than bicubic +50.12 % " in said
    assert "4 training, 2 validation and 4 test images, 32 × 32 pixels Network joint" in said
    assert "--cells pac,ddf" in said
    assert (folder / "differences.png").stat().st_size > 5000


def test_squeeze_ratios_are_judged_to_be_alike_or_not(made: Callable[[str], Path]) -> None:
    found = read(made("cvpr2021-table3"))
    one = next(one for one in found["verdicts"] if one["cell"] == "squeeze-0.4")
    assert (one["direction"], one["against"], one["paper"]) == ("alike", "both", pytest.approx(0.1))
    assert one["verdict"] in ("holds", "fails", "undecided")
    parameters = {run["operator"]: run["parameters"] for run in results(made("cvpr2021-table3"))["runs"]}
    assert parameters["squeeze-0.4"] > parameters["both"]
    said = text_of(made("cvpr2021-table3"))
    assert "squeeze-0.4 as good as both" in said
    assert "holds if the interval lies within 0.5 points of 0, and fails beyond" in said


@pytest.mark.parametrize("name", TINY)
def test_the_same_command_trains_nothing_again(
    name: str,
    made: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("trained again")

    before = read(made(name))
    monkeypatch.setattr(job, "fit", refuse)
    assert main(["reproduce", name, *TINY[name], "--out", str(made(name))]) == 0
    assert read(made(name)) == before
    printed = capsys.readouterr()
    assert "of training, as a few steps say" not in printed.err
    assert "Hypotheses: by how much the first cell is better" in printed.out


def test_the_time_that_is_told_is_of_all_parts_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decoupled_nets.reproduce.estimate._step", lambda *args: 1.0)
    kind = find_task("depth")
    for crops in (1, 3):
        config = CompareConfig.of(
            task="depth", data="sample", train_size=4, val_size=2, test_size=2, crop=32, crops=crops,
            workers=0, batch_size=2, epochs=5, jobs=1, seeds=2, accelerator="cpu",
            variants="a: operator=conv upsample=ddf",
        )  # fmt: skip
        data = kind.load(config.data)
        assert seconds_left(kind(()), config, data, None) == (2 * 5 * 2 * crops, 0)


def test_data_that_has_to_be_named_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, scale, what in (
        ("cvpr2021-table6", "medium", "a folder with boxes"),
        ("cvpr2021-table7-8x", "paper", "the folder of NYU v2"),
        ("cvpr2018-table6", "paper", "the folder of ImageNet"),
    ):
        assert main(["reproduce", name, "--scale", scale, "--out", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert f"--data sample received for {name} at the scale {scale}; needed: --data {what}" in said
    assert not list(tmp_path.iterdir())
