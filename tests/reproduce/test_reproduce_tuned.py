"""Tables whose cells have their own options: what is tried, chosen, judged and told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from decoupled_nets.cli.main import main
from decoupled_nets.compare import CompareConfig, jobs
from decoupled_nets.evaluation.targets import find_targets
from decoupled_nets.experiment import job
from decoupled_nets.reports.results import Epoch, Run, Score, Tuning
from decoupled_nets.reproduce.estimate import seconds_left
from decoupled_nets.reproduce.run import judged
from decoupled_nets.reproduce.table import table
from decoupled_nets.tasks import find_task
from toy_tables import TOY, quickly

TUNE = ["--tune=lr=1e-5,0.001,0.02", "--tune-seeds=1"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders of the trainings that are begun."""
    found: list[str] = []
    fit = job.fit

    def watched(module, data, machine, where, *args, **kwargs):  # type: ignore[no-untyped-def]
        found.append(f"{where.parent.name}/{where.name}")
        return fit(module, data, machine, where, *args, **kwargs)

    monkeypatch.setattr(job, "fit", watched)
    return found


def make(folder: Path, cells: str, *words: str, name: str = "cvpr2018-table2") -> int:
    return main(["reproduce", name, "--cells", cells, *TOY, "--out", str(folder), *words])


@pytest.fixture(scope="module")
def untuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untuned")
    with pytest.MonkeyPatch.context() as patch:
        quickly(patch)
        make(folder, "tanh-cos,conv", "--tune=")
    return folder


def read(folder: Path) -> dict:
    return json.loads((folder / "reproduction.json").read_text())


def test_every_cell_gets_the_rate_that_was_best_for_it(
    untuned: Path, tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is judged is tuned, and without tuning stands beside it; what was trained before is kept."""
    folder = tmp_path / "tuned"
    shutil.copytree(untuned, folder)
    before = read(folder)
    assert before["tuning"] is None
    make(folder, "tanh-cos,conv", *TUNE)
    found = read(folder)
    tuning = found["tuning"]
    assert tuning["untuned"] == before["ours"]["error"]
    assert tuning["settings"] == [{"lr": lr} for lr in (1e-5, 0.001, 0.02)]
    assert len(tuning["trials"]) == 6
    assert not set(tuning["seeds"]) & set(found["seeds"])
    for cell, chosen in tuning["chosen"].items():
        own = {one["setting"]["lr"]: one["val"] for one in tuning["trials"] if one["operator"] == cell}
        assert own[chosen["lr"]] == max(own.values())
    moved = [cell for cell, chosen in tuning["chosen"].items() if chosen != {"lr": 0.001}]
    assert moved  # else this says nothing of what is trained with a chosen rate
    runs = {name.removeprefix("runs/") for name in trained if name.startswith("runs/")}
    assert runs == {
        f"{cell}-operator={cell}-lr={tuning['chosen'][cell]['lr']}-seed{seed}"
        for cell in moved
        for seed in (0, 1)
    }
    compared = json.loads((folder / "comparison" / "results.json").read_text())["runs"]
    for cell, values in found["ours"]["error"].items():
        tested = [100 - 100 * run["test"]["value"] for run in compared if run["operator"] == cell]
        assert values == pytest.approx(tested)
    means = {cell: sum(values) / 2 for cell, values in found["ours"]["error"].items()}
    assert found["verdicts"][0]["ours"] == pytest.approx(means["conv"] - means["tanh-cos"])
    page, said = (folder / "report.html").read_text(), capsys.readouterr().out
    assert ">Chosen</th>" in page
    assert ">Untuned</th>" in page
    assert f"lr {tuning['chosen'][moved[0]]['lr']:g}" in page
    assert "lr=1e-5,0.001,0.02, from 1 seed" in page
    assert "lies at the edge of what was tried" in page
    tried = page.partition("◂ was chosen</caption>")[2].partition("</table>")[0]
    assert tried.count("◂") == 2  # one of each cell
    assert "Training had not flattened: conv and tanh-cos." in said.replace("\n", " ")
    assert "lies at the edge of what was tried" in said.replace("\n", " ")


def test_networks_of_a_reproduction_are_found_in_its_folder(untuned: Path) -> None:
    found = find_targets([str(untuned)])
    assert [(one.operator, one.seed) for one in found] == [
        ("conv", 0), ("conv", 1), ("tanh-cos", 0), ("tanh-cos", 1),
    ]  # fmt: skip


def test_a_trial_that_failed_leaves_what_there_was(
    untuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "failing"
    shutil.copytree(untuned, folder)
    before = read(folder)
    do, failing = jobs.do_trial, [True]

    def fails(work, **arguments):  # type: ignore[no-untyped-def]
        if failing[0]:
            raise RuntimeError("out of luck")
        return do(work, **arguments)

    monkeypatch.setattr(jobs, "do_trial", fails)
    with pytest.raises(SystemExit):
        make(folder, "tanh-cos,conv", "--tune=lr=0.001,0.02", "--tune-seeds=1")
    assert read(folder) == before
    failing[0] = False
    make(folder, "tanh-cos,conv", "--tune=lr=0.001,0.02", "--tune-seeds=1")
    assert read(folder)["tuning"]["chosen"]


def test_a_cell_that_diverged_is_a_row_like_others(tmp_path: Path) -> None:
    assert make(tmp_path, "conv,seg-sqcos", "--lr=1e30", "--tune=") == 0
    found = read(tmp_path)
    assert found["trainings"]["seg-sqcos"]["accuracy"] is None
    assert found["diverged"]["conv"] == 2
    last = found["verdicts"][-1]  # that seg-sqcos does not converge: but nothing does here
    assert last["verdict"] == "undecided"
    assert last["reason"].endswith("did not converge, and none of another cell did")
    assert "(2 of 2 diverged)" in (tmp_path / "report.html").read_text()


def test_tuning_the_area_under_a_curve_shows_it_untuned_too(tmp_path: Path) -> None:
    words = ["--tune=lr=0.001,0.02", "--tune-seeds=1"]
    make(tmp_path, "conv,tanh-cos", *words, name="cvpr2018-convergence")
    tuning = read(tmp_path)["tuning"]
    kept = json.loads((tmp_path / "comparison" / "results.json").read_text())["tuning"]["untuned"]
    for cell in ("conv", "tanh-cos"):
        own = sorted((run for run in kept if run["operator"] == cell), key=lambda run: run["seed"])
        assert tuning["untuned"][cell] == pytest.approx([100 * run["history"][0]["val"] for run in own])
    assert ">Untuned: " in (tmp_path / "report.html").read_text()


def test_what_a_scale_tries_by_itself_is_part_of_the_command(tmp_path: Path) -> None:
    few = ["--cells=conv", "--epochs=1", "--train-size=32", "--seeds=1", "--width=0.03", "--jobs=1"]
    main(["reproduce", "cvpr2018-table2", *few, "--workers=0", "--accelerator=cpu", "--out", str(tmp_path)])
    found = read(tmp_path)
    assert "--tune lr=0.0001,0.0003,0.001,0.003,0.01" in found["command"]
    assert found["options"]["tune_seeds"] == 1
    main(["reproduce", "cvpr2018-table2", *few, "--workers=0", "--accelerator=cpu", "--tune", "",
          "--out", str(tmp_path)])  # fmt: skip
    assert "--tune ''" in read(tmp_path)["command"]


def run(cell: str, loss: float, seed: int = 0) -> Run:
    return Run(cell, seed, 1, [Epoch(1, loss, loss, 0.5, 1.0)], Score(0.5, 10))


def test_convergence_is_judged_with_the_options_that_cells_share() -> None:
    one = table("cvpr2018-table2")
    stuck, went = run("seg-sqcos", 2.3), run("seg-sqcos", 0.1)
    results = SimpleNamespace(
        runs=[went], tuning=Tuning([], [], untuned=[stuck, run("conv", 0.1)]), data={"classes": "0123456789"}
    )
    assert judged(one, results, {}, 0.0)[-1].word == "holds"  # type: ignore[arg-type]
    results.tuning = None
    assert judged(one, results, {}, 0.0)[-1].word == "fails"  # type: ignore[arg-type]


def test_the_time_that_is_told_is_of_trials_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("decoupled_nets.reproduce.estimate._step", lambda *args: 1.0)
    options = {
        "data": "synthetic", "image_size": 25, "train_size": 64, "val_size": 20, "test_size": 40, "epochs": 1,
        "width": 0.03, "batch_size": 32, "jobs": 1, "seeds": 2, "accelerator": "cpu", "workers": 0,
    }  # fmt: skip
    own = {"variants": "conv: operator=conv; tanh-cos: operator=tanh-cos"}
    task, steps = find_task("classify"), 2
    config = CompareConfig.of(**options, **own, tune="lr=1e-5,0.001,0.02", tune_seeds=1)
    data = task.load(config.data)
    trials, runs = 2 * 3 * steps, 2 * 2 * steps
    assert seconds_left(task.of(data), config, data, None) == (trials + runs, runs)
    make(tmp_path, "conv,tanh-cos", *TUNE)
    assert "lr=1e-5,0.001,0.02 tried from 1 seed: about 20 s" in capsys.readouterr().err.replace("\n", " ")
    place = tmp_path / "comparison"
    config = CompareConfig.of(**read(tmp_path)["options"])
    assert seconds_left(task.of(data), config, data, place) == (0.0, 0.0)
    gone = list((place / "runs").glob("*-lr=*-seed0"))
    assert gone  # what was chosen for a cell
    for one in gone:
        shutil.rmtree(one)
    assert seconds_left(task.of(data), config, data, place) == (steps * len(gone), 0.0)
