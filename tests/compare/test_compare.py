"""Comparisons: same order and weights for all, everything reported, going on after an interruption."""

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

import decoupled_nets.compare.run as run
from decoupled_nets.compare import CompareConfig, compare
from decoupled_nets.reports.results import Results

SMALL = {
    "data": "synthetic", "operators": "conv,tanh-cos", "width": 0.03, "epochs": 2, "batch_size": 32,
    "train_size": 96, "val_size": 40, "test_size": 40, "feature_epochs": 1, "attack_images": 20,
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
        assert set(one.attacked) == {"fgsm", "pgd10"}
        assert all(c.images == 20 for c in one.attacked.values())
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
        "--epochs 2 --batch-size 32 --operators conv,tanh-cos --seeds 2 --attack-images 20 --feature-epochs 1"
    )
    names = {path.name for path in finished.iterdir()}
    drawn = ("curves", "score", "attacks", "confusion", "features", "functions", "geometry")
    figures = {f"{name}.png" for name in drawn}
    assert names == {"runs", "config.yaml", "data.json", "results.json", "report.html", *figures}


def test_a_second_call_trains_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    before = json.loads((finished / "results.json").read_text())
    monkeypatch.setattr(run, "fit", no)
    monkeypatch.setattr(run, "costs_of", no)
    compare(CompareConfig.of(**SMALL), finished, quiet=True)
    assert json.loads((finished / "results.json").read_text()) == before


def test_a_comparison_can_grow(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "grown"
    shutil.copytree(finished, folder)
    trained: list[str] = []
    fit = run.fit

    def watched(module, data, machine, where, *args, **kwargs):  # type: ignore[no-untyped-def]
        trained.append(where.name)
        return fit(module, data, machine, where, *args, **kwargs)

    monkeypatch.setattr(run, "fit", watched)
    options = {**SMALL, "operators": "conv,tanh-cos,ball-cos", "precision": "32-true", "workers": 0}
    results, _ = compare(CompareConfig.of(**options), folder, quiet=True)
    assert trained == ["ball-cos-seed0", "ball-cos-seed1", "ball-cos-features"]
    assert [c.operator for c in results.costs] == ["conv", "tanh-cos", "ball-cos"]


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_other_precisions(tmp_path: Path, precision: str) -> None:
    options = {**SMALL, "epochs": 1, "seeds": 1, "precision": precision, "orthogonality": 1e-4}
    results, _ = compare(CompareConfig.of(**options), tmp_path, quiet=True)
    assert set(results.runs[1].attacked) == {"fgsm", "pgd10"}


def test_another_configuration_needs_another_folder(finished: Path) -> None:
    with pytest.raises(ValueError, match="another configuration: epochs: 3 now, 2 then"):
        compare(CompareConfig.of(**{**SMALL, "epochs": 3}), finished, quiet=True)


def test_operators_see_the_same_data_from_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list, list]] = []
    fit = run.fit

    def watched(module, data, machine, *args, **kwargs):  # type: ignore[no-untyped-def]
        start = [p.detach().clone() for n, p in module.named_parameters() if "radius" not in n]
        batches = [images for images, _ in data.train_loader(32, machine.seed)]
        seen.append((start, batches))
        return fit(module, data, machine, *args, **kwargs)

    monkeypatch.setattr(run, "fit", watched)
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
        ({"seeds": 0}, "seeds = 0 received"),
        ({"attack_radius": 8.0}, "attack_radius = 8.0"),
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
