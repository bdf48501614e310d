"""The options of `decoupled reproduce`, by what is trained and written."""

from __future__ import annotations

import functools
import html
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from proofs import proves

from decoupled_nets.cli.main import main
from decoupled_nets.experiment import job
from decoupled_nets.reproduce.clock import measured_layers
from toy_tables import TOY, quickly


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patch:
        quickly(patch)
        main(["reproduce", "cvpr2018-table2", "--cells", "tanh-cos,conv", *TOY, "--out", str(folder)])
    return folder


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders of the trainings that are begun."""
    found: list[str] = []
    fit = job.fit

    def watched(module, data, machine, where, *args, **kwargs):  # type: ignore[no-untyped-def]
        found.append(where.name)
        return fit(module, data, machine, where, *args, **kwargs)

    monkeypatch.setattr(job, "fit", watched)
    return found


def read(folder: Path) -> dict:
    return json.loads((folder / "reproduction.json").read_text())


@proves("reproduce", "out", "cells")
def test_the_cells_are_made_and_everything_is_written(finished: Path) -> None:
    found = read(finished)
    assert found["cells"] == ["conv", "tanh-cos"]  # in the table's order
    assert found["paper"] == {"conv": {"error": 35.30}, "tanh-cos": {"error": 31.88}}
    first, *others = found["verdicts"]
    assert (first["cell"], first["against"], first["paper"]) == ("tanh-cos", "conv", pytest.approx(3.42))
    assert first["verdict"] in ("holds", "fails", "undecided")
    assert {one["verdict"] for one in others} == {"not made"}
    errors = found["ours"]["error"]
    assert first["ours"] == pytest.approx(sum(errors["conv"]) / 2 - sum(errors["tanh-cos"]) / 2)
    assert set(found["trainings"]) == {"conv", "tanh-cos"}
    page = (finished / "report.html").read_text()
    assert f"{found['data']['name']}: 64 training, 20 validation and 40 test images" in page
    assert f"Plain CNN-9 without BatchNorm, CIFAR-100; here: {found['data']['name']}" in page
    assert "--cells conv,tanh-cos" in page
    assert (finished / "differences.png").stat().st_size > 5000


@proves("reproduce", "restart")
def test_more_cells_and_seeds_only_add_runs_and_restart_trains_all(
    finished: Path, tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "grown"
    shutil.copytree(finished, folder)
    before = read(folder)["ours"]["error"]

    def make(*words: str) -> None:
        trained.clear()
        main(["reproduce", "cvpr2018-table2", *TOY, "--out", str(folder), *words])

    make("--cells", "conv,tanh-cos")
    assert trained == []
    make("--cells", "conv,tanh-cos,seg-sqcos", "--seeds", "3")
    assert sorted(trained) == [
        "conv-operator=conv-seed2", *(f"seg-sqcos-operator=seg-sqcos-seed{seed}" for seed in range(3)),
        "tanh-cos-operator=tanh-cos-seed2",
    ]  # fmt: skip
    grown = read(folder)
    assert [values[:2] for values in (grown["ours"]["error"][cell] for cell in before)] == list(
        before.values()
    )
    assert grown["verdicts"][-1]["verdict"] != "not made"  # whether seg-sqcos converges
    assert "about" in capsys.readouterr().err  # how long it takes is said before
    make("--cells", "conv", "--seeds", "1", "--restart")
    assert trained == ["conv-operator=conv-seed0"]


@proves("reproduce", "scale", "config")
def test_the_scale_sets_the_options_and_the_command_line_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def noted(table, scale, config, folder, **more):  # type: ignore[no-untyped-def]
        made.append((scale, config, folder))
        raise ValueError("that is all")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("decoupled_nets.cli.reproduce.reproduce", noted)
    file = tmp_path / "options.yaml"
    file.write_text(yaml.safe_dump({"lr": 0.5}))
    small_and_file = ["--cells", "conv", "--config", str(file)]
    for words in (
        [],
        ["--scale", "paper"],
        ["--scale=medium", "--epochs", "7"],
        ["--cells", "conv"],
        small_and_file,
    ):
        main(["reproduce", "cvpr2018-table2", *words])
    (small, usual, place), (paper, whole, other), (medium, changed, _), (_, _, same), (_, told, _) = made
    assert (told.optim.lr, told.optim.epochs) == (0.5, 45)  # a file, and the scale behind it
    assert (small, usual.network.width, usual.optim.epochs, usual.data.data) == ("small", 0.125, 45, "sample")
    assert (paper, whole.network.width, whole.optim.epochs, whole.data.data) == (
        "paper",
        1.0,
        182,
        "cifar100",
    )
    assert (medium, changed.optim.epochs, changed.network.width) == ("medium", 7, 0.5)
    assert not usual.network.batch_norm
    assert place != other
    assert place == same  # cells only add runs
    assert place.name.startswith("cvpr2018-table2-small-")


@proves("reproduce", "scale")
def test_a_scale_in_a_file_and_an_unknown_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(yaml.safe_dump({"scale": "paper"}))
    assert main(["reproduce", "cvpr2018-table2", "--config", str(file)]) == 2
    assert "needed: --scale on the command line" in capsys.readouterr().err
    assert main(["reproduce", "cvpr2018-table2", "--scale", "huge"]) == 2
    assert "scale = huge received" in capsys.readouterr().err
    assert main(["reproduce"]) == 2
    assert "no table received" in capsys.readouterr().err


def test_the_list_names_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    from decoupled_nets.reproduce import table_names

    assert main(["reproduce", "--list"]) == 0
    said = capsys.readouterr().out
    assert all(f"{name}: " in said for name in table_names())
    assert "10 cells (conv, linear-linear" in said


def test_a_counted_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--cells", "resnet18,ddf-resnet18", "--out", str(tmp_path)]
    assert main(["reproduce", "cvpr2021-table4-5", *words]) == 0
    found = read(tmp_path)
    assert found["ours"]["parameters"]["resnet18"] == [pytest.approx(11.69, abs=0.01)]
    assert found["ours"]["multiply_adds"]["ddf-resnet18"] == [pytest.approx(0.4, abs=0.05)]
    assert [one["verdict"] for one in found["verdicts"][:3]] == ["holds", "holds", "not made"]
    assert "counted; nothing is trained" in (tmp_path / "report.html").read_text()


def test_a_measured_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "decoupled_nets.reproduce.untrained.measured_layers",
        functools.partial(measured_layers, shape=(1, 4, 8, 8)),
    )
    words = ["--accelerator=cpu", "--cells", "ddf,conv", "--out", str(tmp_path)]
    assert main(["reproduce", "cvpr2021-table2", *words]) == 0
    found = read(tmp_path)
    assert set(found["ours"]["latency"]) == {"conv", "ddf"}
    assert [one["verdict"] for one in found["verdicts"]][1:] == ["not made", "undecided"]
    assert "measured on cpu with" in (tmp_path / "report.html").read_text()


@pytest.mark.long
def test_attacks_are_jobs_of_their_own(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*TOY, "--attack-images=6", "--cells", "conv,tanh", "--out", str(tmp_path)]
    main(["reproduce", "cvpr2018-table7-8", *words])
    found = read(tmp_path)
    assert set(found["ours"]) == {"accuracy", "fgsm", "bim", "standard", "transfer_fgsm", "transfer_bim"}
    for name in ("fgsm", "bim", "standard", "transfer_bim"):
        assert {cell: len(values) for cell, values in found["ours"][name].items()} == {"conv": 2, "tanh": 2}
    for cell in ("conv", "tanh"):  # the strongest suite leaves least
        for strong, weak in zip(found["ours"]["standard"][cell], found["ours"]["fgsm"][cell], strict=True):
            assert strong <= weak
    if found["flags"]:
        assert found["flags"][0] in html.unescape((tmp_path / "report.html").read_text())
    trained.clear()
    monkeypatch.setattr("decoupled_nets.reproduce.attacks.evaluate", lambda *args, **more: 1 / 0)
    main(["reproduce", "cvpr2018-table7-8", *words])  # what is attacked is not attacked again
    assert trained == []
    assert read(tmp_path)["ours"] == found["ours"]


@pytest.mark.long
def test_a_kill_and_two_shells_give_the_same_figures(finished: Path, tmp_path: Path) -> None:
    words = ["reproduce", "cvpr2018-table2", "--cells", "tanh-cos,conv", *TOY, "--out", str(tmp_path)]
    command = [sys.executable, "-m", "decoupled_nets.cli.main", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def shell() -> subprocess.Popen:
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    first = tmp_path / "comparison" / "runs" / "conv-operator=conv-seed0" / "result.json"
    killed = shell()
    for _ in range(12000):
        if first.exists():
            break
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    stamp = first.stat().st_mtime_ns
    shells = [shell(), shell()]
    for one in shells:
        said, _ = one.communicate(timeout=240)
        assert one.returncode == 0, said.decode()
    assert first.stat().st_mtime_ns == stamp
    assert (read(tmp_path)["ours"], read(tmp_path)["verdicts"]) == (
        read(finished)["ours"],
        read(finished)["verdicts"],
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cvpr2021-table4-5", "--width", "0.5"], "width 0.5 received for cvpr2021-table4-5; needed: the"),
        (["cvpr2021-table4-5", "--seeds", "7"], "seeds 7 received for cvpr2021-table4-5"),
        (["cvpr2021-table6", "--upsamplers", "ddf"], "needed: the default, as the table has cells with"),
        (["cvpr2018-table2", "--operators", "conv"], "needed: the default, as the table has cells with"),
    ],
)
def test_options_that_a_table_has_no_use_for_are_refused(words, said, tmp_path, capsys):
    assert main(["reproduce", *words, "--out", str(tmp_path)]) != 0
    assert said in capsys.readouterr().err.replace("--", "")
