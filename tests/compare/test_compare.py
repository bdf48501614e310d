"""Comparisons: same order and weights for all, everything reported, going on after an interruption."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from decoupled_nets import _claims
from decoupled_nets.cli.main import main
from decoupled_nets.compare import CompareConfig, RunsFailedError, compare, jobs
from decoupled_nets.experiment import job
from decoupled_nets.reports.decision import differences
from decoupled_nets.reports.results import Results

SMALL = {
    "data": "synthetic", "operators": "conv,tanh-cos", "width": 0.03, "epochs": 2, "batch_size": 32,
    "train_size": 96, "val_size": 40, "test_size": 40, "feature_epochs": 1, "attack_images": 4,
    "lr": 3e-3, "seeds": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    compare(CompareConfig.of(**SMALL), folder, quiet=True)
    return folder


def test_everything_is_reported(finished: Path) -> None:
    results = Results.load(finished / "results.json")
    assert results.operators == ["conv", "tanh-cos"]
    assert [(r.operator, r.seed) for r in results.runs] == [
        ("conv", 0), ("tanh-cos", 0), ("conv", 1), ("tanh-cos", 1)
    ]  # fmt: skip
    for one in results.runs:
        assert [e.epoch for e in one.history] == [1, 2]
        assert one.test.images == 40
        assert set(one.attacked) == {"quick"}
        assert all(c.images == 4 for c in one.attacked.values())
        assert one.parameters > 0
    assert [c.operator for c in results.costs] == ["conv", "tanh-cos"]
    assert results.costs[0].step_ratio == 1.0
    assert all(c.peak_bytes > 0 for c in results.costs)
    assert [f.operator for f in results.features] == ["conv", "tanh-cos"]
    assert len(results.features[0].x) == len(results.features[0].label) == 40
    assert results.environment["torch"]
    assert results.config["width"] == 0.03
    assert results.config["command"] == (
        "decoupled compare --data synthetic --train-size 96 --val-size 40 --test-size 40 --width 0.03 "
        "--epochs 2 --batch-size 32 --operators conv,tanh-cos --seeds 2 --attack-images 4 --feature-epochs 1"
    )
    names = {path.name for path in finished.iterdir()}
    drawn = ("curves", "score", "differences", "attacks", "confusion", "features", "functions", "geometry")
    figures = {f"{name}.png" for name in drawn}
    assert names == {"runs", "config.yaml", "data.json", "results.json", "report.html", *figures}


def test_differences_are_decided_by_the_images_of_all_runs(finished: Path) -> None:
    results = Results.load(finished / "results.json")
    kept = {
        (r.operator, r.seed): load_file(
            finished / "runs" / f"{r.operator}-seed{r.seed}" / "outcomes.safetensors"
        )
        for r in results.runs
    }
    scores = {
        operator: {seed: kept[operator, seed]["outcomes"][:, 0].double().numpy() for seed in (0, 1)}
        for operator in ("conv", "tanh-cos")
    }
    found = differences(scores, "conv")["tanh-cos"]
    assert results.differences["tanh-cos"] == dataclasses.replace(found, mean=pytest.approx(found.mean))
    means = {o: sum(r.test.value for r in results.of(o)) / 2 for o in results.operators}
    assert results.differences["tanh-cos"].mean == pytest.approx(means["tanh-cos"] - means["conv"])
    assert results.margin == 0.005


def test_a_second_call_trains_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    before = json.loads((finished / "results.json").read_text())
    monkeypatch.setattr(job, "fit", no)
    monkeypatch.setattr(jobs, "costs_of", no)
    compare(CompareConfig.of(**SMALL), finished, quiet=True)
    assert json.loads((finished / "results.json").read_text()) == before


def test_a_comparison_can_grow(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "grown"
    shutil.copytree(finished, folder)
    trained: list[str] = []
    fit = job.fit

    def watched(module, data, machine, where, *args, **kwargs):  # type: ignore[no-untyped-def]
        trained.append(where.name)
        return fit(module, data, machine, where, *args, **kwargs)

    monkeypatch.setattr(job, "fit", watched)
    options = {**SMALL, "operators": "conv,tanh-cos,ball-cos", "precision": "32-true", "workers": 0}
    results, _ = compare(CompareConfig.of(**options), folder, quiet=True)
    assert trained == ["ball-cos-seed0", "ball-cos-seed1", "ball-cos-features"]
    assert [c.operator for c in results.costs] == ["conv", "tanh-cos", "ball-cos"]


@pytest.mark.parametrize("precision", ["bf16-true", pytest.param("64-true", marks=pytest.mark.long)])
def test_other_precisions(tmp_path: Path, precision: str) -> None:
    options = {**SMALL, "epochs": 1, "seeds": 1, "precision": precision, "orthogonality": 1e-4}
    results, _ = compare(CompareConfig.of(**options), tmp_path, quiet=True)
    assert set(results.runs[1].attacked) == {"quick"}


def test_another_configuration_needs_another_folder(finished: Path) -> None:
    with pytest.raises(ValueError, match="another configuration: epochs: 3 now, 2 then"):
        compare(CompareConfig.of(**{**SMALL, "epochs": 3}), finished, quiet=True)


def test_operators_see_the_same_data_from_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list, list]] = []
    fit = job.fit

    def watched(module, data, machine, *args, **kwargs):  # type: ignore[no-untyped-def]
        start = [p.detach().clone() for n, p in module.named_parameters() if "radius" not in n]
        batches = [images for images, _ in data.train_loader(32, machine.seed)]
        seen.append((start, batches))
        return fit(module, data, machine, *args, **kwargs)

    monkeypatch.setattr(job, "fit", watched)
    options = {**SMALL, "epochs": 1, "feature_epochs": 0, "seeds": 1, "attack_images": 0}
    compare(CompareConfig.of(**options), tmp_path, quiet=True)
    (weights, batches), (other_weights, other_batches) = seen
    assert all(a.equal(b) for a, b in zip(weights, other_weights, strict=True))
    assert all(a.equal(b) for a, b in zip(batches, other_batches, strict=True))


def test_a_killed_comparison_goes_on(finished: Path, tmp_path: Path) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    command = [sys.executable, "-m", "decoupled_nets.cli.main", "compare", *options, "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = tmp_path / "runs" / "conv-seed0" / "result.json"
    for _ in range(6000):
        if first.exists():
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    stamp = first.stat().st_mtime_ns
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert first.stat().st_mtime_ns == stamp
    assert "report.html" in done.stdout
    ours, theirs = (Results.load(f / "results.json") for f in (tmp_path, finished))
    assert [r.test for r in ours.runs] == [r.test for r in theirs.runs]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operators": "conv,tan-cos"}, "unknown magnitude 'tan'"),
        ({"operators": "conv,conv"}, "needed: each once"),
        ({"operators": "conv,spline+groups=2+monotone,spline-spline+monotone+groups=2"}, "needed: each once"),
        ({"seeds": 0}, "seeds = 0 received"),
        ({"threat": "linf:8"}, "radius 8 received"),
        ({"devices": 2}, "runs in one process"),
    ],
)
def test_configuration_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompareConfig.of(**options)


def test_other_data_is_never_beside_old_numbers(tmp_path: Path) -> None:
    root, folder = tmp_path / "pets", tmp_path / "c"
    for split, each in (("train", 12), ("val", 4), ("test", 4)):
        for k, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for n in range(each):
                Image.new("RGB", (16, 16), (100 * k + n, 90, 10)).save(root / split / name / f"{n}.png")
    options = {
        "data": str(root), "operators": "conv,tanh-cos", "width": 0.03, "epochs": 1, "batch_size": 8,
        "feature_epochs": 0, "workers": 0, "image_size": 32,
    }  # fmt: skip
    first, _ = compare(CompareConfig.of(**options), folder, quiet=True)
    before = (folder / "results.json").read_text()
    for n in range(3, 12):
        (root / "train" / "cat" / f"{n}.png").unlink()
    for more in ({}, {"operators": "conv,tanh-cos,ball-cos"}):
        with pytest.raises(ValueError, match="data: training: 15 images now, 24 then"):
            compare(CompareConfig.of(**{**options, **more}), folder, quiet=True)
    assert (folder / "results.json").read_text() == before
    again, _ = compare(CompareConfig.of(**options), folder, restart=True, quiet=True)
    assert again.data["train_size"] == 15
    assert again.data["digest"] != first.data["digest"]
    assert [run.history[0].train_loss for run in again.runs] != [
        run.history[0].train_loss for run in first.runs
    ]


def test_a_result_brought_from_elsewhere_is_refused(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    path = folder / "runs" / "conv-seed0" / "result.json"
    kept = json.loads(path.read_text())
    kept["origin"]["digest"] = "0" * 64
    path.write_text(json.dumps(kept))
    with pytest.raises(ValueError, match=r"result\.json belongs to something else"):
        compare(CompareConfig.of(**SMALL), folder, quiet=True)


def test_nothing_is_attacked_unless_asked(tmp_path: Path) -> None:
    options = {name: value for name, value in SMALL.items() if name != "attack_images"}
    results, paths = compare(
        CompareConfig.of(**{**options, "epochs": 1, "seeds": 1, "feature_epochs": 0}), tmp_path, quiet=True
    )
    assert not any(run.attacked for run in results.runs)
    page = (tmp_path / "report.html").read_text()
    assert "FGSM" not in page
    assert "attacks.png" not in {path.name for path in paths}


def test_a_failing_run_is_reported_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--{n.replace('_', '-')}={v}" for n, v in {**SMALL, "epochs": 1, "feature_epochs": 0}.items()]
    command = ["compare", *options, "--jobs=1", "--out", str(tmp_path)]
    do = jobs.do_run

    def fails(work, **arguments):  # type: ignore[no-untyped-def]
        if work.job.name == "runs/tanh-cos-seed0":
            raise MemoryError("no room for [tensors]")
        return do(work, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "do_run", fails)
        with pytest.raises(SystemExit) as ended:
            main(command)
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("1 failed; the same command tries again:")
    assert lines[start + 1] == "  tanh-cos, seed 0: MemoryError: no room for [tensors]"
    assert lines[start + 2].strip() == str(tmp_path / "runs/tanh-cos-seed0/log.txt")
    page = (tmp_path / "report.html").read_text()
    assert "Incomplete: 3 of 4 runs finished" in page
    results = Results.load(tmp_path / "results.json")
    assert [(r.operator, r.seed) for r in results.runs] == [("conv", 0), ("conv", 1), ("tanh-cos", 1)]
    assert len(results.costs) == 2
    assert main(command) == 0
    assert len(Results.load(tmp_path / "results.json").runs) == 4


def test_if_nothing_can_be_done_there_is_still_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(work, **arguments):  # type: ignore[no-untyped-def]
        raise OSError("no device")

    for name in ("do_run", "do_features", "do_costs"):
        monkeypatch.setattr(jobs, name, fails)
    with pytest.raises(RunsFailedError, match=r"^7 failed: conv, seed 0, tanh-cos, seed 0") as failed:
        compare(CompareConfig.of(**SMALL), tmp_path, quiet=True)
    assert failed.value.results.runs == []
    assert "Incomplete: 0 of 4" in (tmp_path / "report.html").read_text()


def test_a_wrong_device_fails_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fp16"):
        compare(CompareConfig.of(**{**SMALL, "precision": "fp16"}), tmp_path / "c", quiet=True)
    assert not (tmp_path / "c").exists()


def test_a_restart_waits_for_no_one_and_takes_nothing_from_them(tmp_path: Path) -> None:
    config = CompareConfig.of(**{**SMALL, "epochs": 1, "seeds": 1, "feature_epochs": 0, "attack_images": 0})
    compare(config, tmp_path, quiet=True)
    claim = _claims.take(tmp_path / "runs" / "conv-seed0")
    assert claim is not None
    with pytest.raises(ValueError, match=r"process \d+ on .* is at work in .*; needed: that it ends"):
        compare(config, tmp_path, restart=True, quiet=True)
    assert (tmp_path / "runs" / "conv-seed0" / "last.ckpt").exists()
    claim.release()
    compare(config, tmp_path, restart=True, quiet=True)


@pytest.mark.long
def test_two_processes_two_shells_and_one_process_find_the_same(finished: Path, tmp_path: Path) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    command = [sys.executable, "-m", "decoupled_nets.cli.main", "compare", *options]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    started = [
        subprocess.Popen([*command, *more, "--out", str(tmp_path / where)], env=environment, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for where, more in (("two", ["--jobs=2"]), ("shells", ["--jobs=1"]), ("shells", ["--jobs=1"]))
    ]  # fmt: skip
    for process in started:
        output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        assert "report.html" in output
    for where in ("two", "shells"):
        ours, theirs = (Results.load(folder / "results.json") for folder in (tmp_path / where, finished))
        assert [(r.test, r.attacked) for r in ours.runs] == [(r.test, r.attacked) for r in theirs.runs]
        assert ours.features == theirs.features


def test_what_is_ignored_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {**SMALL, "epochs": 1, "seeds": 1, "feature_epochs": 0, "attack_images": 0, "momentum": 0.5}
    compare(CompareConfig.of(**options), tmp_path / "adam")
    assert "optimizer=adam ignores momentum." in capsys.readouterr().err
    compare(CompareConfig.of(**options, optimizer="sgd"), tmp_path / "sgd")
    assert "ignores" not in capsys.readouterr().err
