"""Whole runs: what they leave behind, repetition to the bit, and going on after any kind of end."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

import decoupled_nets as dn
from decoupled_nets.training import TrainConfig, load_checkpoint, train

SMALL = {
    "data": "synthetic", "width": 0.03, "epochs": 3, "batch_size": 32, "train_size": 128, "test_size": 40,
    "lr": 3e-3,
}  # fmt: skip
OPTIONS = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "last.ckpt")["state_dict"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(1)
    train(TrainConfig(**SMALL), folder, quiet=True)
    return folder


def test_what_a_run_leaves_behind(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"config.yaml", "last.ckpt", "best.ckpt", "history.csv", "tensorboard"}
    assert list((finished / "tensorboard").glob("events*"))
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert TrainConfig(**config) == TrainConfig(**SMALL)
    rows = list(csv.DictReader((finished / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert rows[0]["test_total"] == "40"


def test_a_checkpoint_rebuilds_its_network(finished: Path) -> None:
    checkpoint = load_checkpoint(finished / "best.ckpt")
    own = checkpoint["decoupled_nets"]
    assert own["config"]["operator"] == "tanh-cos"
    network = dn.create_model(
        own["config"]["model"], len(own["classes"]), own["in_chans"], operator="tanh-cos", width=0.03
    )
    prefix = "network.network."
    state = {k[len(prefix) :]: v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    network.load_state_dict(state)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(finished: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    train(TrainConfig(**SMALL), tmp_path / "again", quiet=True)
    assert same(weights(finished), weights(tmp_path / "again"))
    train(TrainConfig(**SMALL, seed=1), tmp_path / "other", quiet=True)
    assert not same(weights(finished), weights(tmp_path / "other"))


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "decoupled_nets.cli.main",
        "train",
        *OPTIONS,
        "--out",
        str(folder),
        *more,
    ]
    # The same number of threads as this process has: sums may differ in the last bit otherwise.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


def test_kill_and_resume_end_with_the_same_bits(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    # A checkpoint after every step: the kill falls into the middle of an epoch.
    process = start(folder, "--checkpoint-minutes", "0")
    wait_for(folder / "last.ckpt", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    resumed = start(folder, "--resume", "--checkpoint-minutes", "0")
    output, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, output
    assert same(weights(finished), weights(folder))
    assert [e["epoch"] for e in load_checkpoint(folder / "last.ckpt")["history"]] == [1, 2, 3]


def test_interrupt_saves_and_resume_ends_with_the_same_bits(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "interrupted"
    process = start(folder, "--checkpoint-minutes", "0")
    wait_for(folder / "last.ckpt", process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert f"decoupled train --resume --out {folder}" in output
    assert "Traceback" not in output
    # Only the folder is named: everything else is in its config.yaml.
    command = [sys.executable, "-m", "decoupled_nets.cli.main", "train", "--resume", "--out", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert same(weights(finished), weights(folder))


def test_a_finished_run_is_kept(finished: Path) -> None:
    with pytest.raises(FileExistsError, match="holds a run already: add --resume"):
        train(TrainConfig(**SMALL), finished, quiet=True)
    with pytest.raises(ValueError, match=r"another configuration: epochs: 4 now, 3 then"):
        train(TrainConfig(**{**SMALL, "epochs": 4}), finished, resume=True, quiet=True)
    before = weights(finished)
    assert len(train(TrainConfig(**SMALL), finished, resume=True, quiet=True).history) == 3
    assert same(before, weights(finished))


def test_two_processes_give_the_loss_of_one(tmp_path: Path) -> None:
    # float64 shows that only rounding differs; BatchNorm's statistics would be each process's own.
    options = ("--precision=64-true", "--no-batch-norm", "--operator=ball-cos")
    histories = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        strategy = "ddp" if devices == 2 else "auto"
        process = start(folder, *options, f"--devices={devices}", f"--strategy={strategy}")
        output, _ = process.communicate(timeout=180)
        assert process.returncode == 0, output
        histories.append(load_checkpoint(folder / "last.ckpt"))
    for one, two in zip(histories[0]["history"], histories[1]["history"], strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-6)
        assert two["test_loss"] == pytest.approx(one["test_loss"], rel=1e-6)
        assert two["test_correct"] == one["test_correct"]
        assert two["test_total"] == one["test_total"] == 40
    for key, value in histories[0]["state_dict"].items():
        if "mean_norm" in key or "radius" in key:
            torch.testing.assert_close(histories[1]["state_dict"][key], value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_precisions(precision: str, tmp_path: Path) -> None:
    options = {**SMALL, "epochs": 1, "precision": precision, "radius": "learned", "project_every": 2}
    task = train(TrainConfig(**options, orthogonality=1e-5, weighted_gradients=True), tmp_path, quiet=True)
    assert task.history[0]["train_loss"] < 5
    norms = torch.cat(
        [m.weight.flatten(1).norm(dim=1) for m in task.modules() if isinstance(m, dn.DecoupledConv2d)]
    )
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-3)


def test_a_diverging_run_stops_and_says_so(tmp_path: Path) -> None:
    options = {
        **SMALL,
        "operator": "conv",
        "batch_norm": False,
        "lr": 1e30,
        "optimizer": "sgd",
        "warmup": 0.0,
    }
    task = train(TrainConfig(**options), tmp_path, quiet=True)
    assert len(task.history) < 3
    assert task.history[-1]["train_loss"] != task.history[-1]["train_loss"]


def test_damaged_and_foreign_checkpoints(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_checkpoint(tmp_path / "none.ckpt")
    whole = (finished / "last.ckpt").read_bytes()
    (tmp_path / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"half\.ckpt is not a readable checkpoint"):
        load_checkpoint(tmp_path / "half.ckpt")
    torch.save({"code": print}, tmp_path / "code.ckpt")
    with pytest.raises(ValueError, match=r"code\.ckpt is not a readable checkpoint"):
        load_checkpoint(tmp_path / "code.ckpt")
