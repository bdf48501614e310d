"""Whole runs: what they leave behind, repetition to the bit, and going on after any kind of end."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import decoupled_nets as dn
from decoupled_nets.training import TrainConfig, callbacks, load_checkpoint, load_network, train

SMALL = {
    "data": "synthetic", "width": 0.03, "epochs": 3, "batch_size": 32, "train_size": 128, "val_size": 32,
    "test_size": 40, "lr": 3e-3,
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
    train(TrainConfig.of(**SMALL), folder, quiet=True)
    return folder


def test_what_a_run_leaves_behind(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "config.yaml", "data.json", "last.ckpt", "best.ckpt", "history.csv", "test.json",
        "outcomes.safetensors", "tensorboard",
    }  # fmt: skip
    assert list((finished / "tensorboard").glob("events*"))
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert TrainConfig.of(**config) == TrainConfig.of(**SMALL)
    rows = list(csv.DictReader((finished / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert rows[0]["val_images"] == "32"


def test_a_checkpoint_rebuilds_its_network(finished: Path) -> None:
    task = train(TrainConfig.of(**SMALL), finished, resume=True, quiet=True)
    images = torch.rand(2, 3, 32, 32)
    network = load_network(finished / "last.ckpt")
    assert torch.equal(network(images), task.network.eval()(images))
    assert load_network(finished / "best.ckpt")(images).shape == (2, 4)


def test_a_checkpoint_of_an_earlier_version_is_read(finished: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(finished / "last.ckpt")
    own = checkpoint["decoupled_nets"]
    for name in ("task", "mask_column", "class_names", "void"):  # which it did not know
        del own["config"][name]
    del own["format"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(
        load_network(tmp_path / "old.ckpt")(images), load_network(finished / "last.ckpt")(images)
    )


def test_a_run_of_an_earlier_format_is_refused_by_name(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(finished, folder)
    noted = json.loads((folder / "data.json").read_text())
    del noted["format"]
    (folder / "data.json").write_text(json.dumps(noted))
    with pytest.raises(ValueError, match=r"format of the files: 2 now, 1 then.*--restart trains anew"):
        train(TrainConfig.of(**SMALL), folder, resume=True, quiet=True)


def test_a_start_that_fails_leaves_the_folder_free(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fp16"):
        train(TrainConfig.of(**SMALL, precision="fp16"), tmp_path, quiet=True)
    assert len(train(TrainConfig.of(**{**SMALL, "epochs": 1}), tmp_path, quiet=True).history) == 1


def test_the_same_seed_gives_the_same_bits_and_another_does_not(finished: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    train(TrainConfig.of(**SMALL), tmp_path / "again", quiet=True)
    assert same(weights(finished), weights(tmp_path / "again"))
    train(TrainConfig.of(**SMALL, seed=1), tmp_path / "other", quiet=True)
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


@pytest.mark.parametrize("step", range(1, 13))
def test_an_interrupt_at_any_step_loses_nothing(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Three epochs of four steps: in mid-epoch, at an epoch's last step, at the very last one."""
    count = callbacks.StepProgress.on_train_batch_end

    def interrupt(self, trainer, *args):  # type: ignore[no-untyped-def]
        count(self, trainer, *args)
        if trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepProgress, "on_train_batch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(TrainConfig.of(**SMALL), tmp_path, quiet=True)
    assert "Stopping after this step" in capsys.readouterr().err
    train(TrainConfig.of(**SMALL), tmp_path, resume=True, quiet=True)
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = (load_checkpoint(folder / name) for folder in (tmp_path, finished))
        assert same(ours["state_dict"], theirs["state_dict"])
        assert [timeless(e) for e in ours["history"]] == [timeless(e) for e in theirs["history"]]


#: What draws at random, or keeps something from step to step; an epoch has steps of 3 batches and of 1.
EVERYTHING = {
    **SMALL, "model": "resnet32", "width": 0.05, "ema": 0.9, "accumulate": 3, "clip_norm": 0.5, "mixup": 0.4,
    "cutmix": 1.0, "randaugment": 5, "random_erasing": 0.5, "color_jitter": 0.3, "sampling": "balanced",
    "class_weights": "balanced", "drop_rate": 0.2, "drop_path": 0.3, "layer_decay": 0.8, "optimizer": "muon",
    "channels_last": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("everything")
    train(TrainConfig.of(**EVERYTHING), folder, quiet=True)
    return folder


@pytest.mark.parametrize("batch", [1, *(pytest.param(n, marks=pytest.mark.long) for n in (3, 4)), 6])
def test_an_interrupt_with_everything_on_loses_nothing(
    everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Within a step of several batches, after it, at the end of an epoch, in the next one."""
    count, seen = callbacks.StepProgress.on_train_batch_end, []

    def interrupt(self, trainer, *args):  # type: ignore[no-untyped-def]
        count(self, trainer, *args)
        seen.append(trainer.global_step)
        if len(seen) == batch:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepProgress, "on_train_batch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(TrainConfig.of(**EVERYTHING), tmp_path, quiet=True)
    assert len(seen) == {1: 3, 6: 7}.get(batch, batch)  # a step is finished first
    resumed = train(TrainConfig.of(**EVERYTHING), tmp_path, resume=True, quiet=True)
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = (load_checkpoint(folder / name) for folder in (tmp_path, everything))
        assert same(ours["state_dict"], theirs["state_dict"])
        assert same(ours["current_model_state"], theirs["current_model_state"])
        assert [timeless(e) for e in ours["history"]] == [timeless(e) for e in theirs["history"]]
    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 3 * 2
    kept = [load_file(folder / "outcomes.safetensors") for folder in (tmp_path, everything)]
    assert same(*kept)
    # What is left in the module is the average, also where nothing was left to train.
    again = train(TrainConfig.of(**EVERYTHING), tmp_path, resume=True, quiet=True)
    last = load_checkpoint(tmp_path / "last.ckpt")["state_dict"]
    assert same(dict(resumed.state_dict()), last)
    assert same(dict(again.state_dict()), last)
    assert not same(last, load_checkpoint(tmp_path / "last.ckpt")["current_model_state"])


def test_an_interrupt_between_accumulated_steps_projects_no_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch after a projected step begins another step, whether the run was interrupted there or not."""
    config = TrainConfig.of(**{**SMALL, "epochs": 1, "accumulate": 2, "project_every": 1, "lr": 0.05})
    train(config, tmp_path / "whole", quiet=True)
    count, seen = callbacks.StepProgress.on_train_batch_end, []

    def interrupt(self, trainer, *args):  # type: ignore[no-untyped-def]
        count(self, trainer, *args)
        seen.append(trainer.global_step)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepProgress, "on_train_batch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "parts", quiet=True)
    train(config, tmp_path / "parts", resume=True, quiet=True)
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))


def timeless(epoch: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in epoch.items() if name != "seconds"}


def test_a_finished_run_is_kept(finished: Path) -> None:
    with pytest.raises(FileExistsError, match="holds a run already; --resume goes on with it"):
        train(TrainConfig.of(**SMALL), finished, quiet=True)
    with pytest.raises(ValueError, match=r"another configuration: epochs: 4 now, 3 then"):
        train(TrainConfig.of(**{**SMALL, "epochs": 4}), finished, resume=True, quiet=True)
    before = weights(finished)
    assert len(train(TrainConfig.of(**SMALL), finished, resume=True, quiet=True).history) == 3
    assert same(before, weights(finished))


def test_several_processes_give_the_losses_of_one(tmp_path: Path) -> None:
    # float64 shows that only rounding differs; BatchNorm's statistics would be each process's own.
    options = ("--precision=64-true", "--no-batch-norm", "--operator=ball-cos", "--batch-size=30")
    checkpoints = []
    for devices in (1, 3):
        folder = tmp_path / str(devices)
        strategy = "ddp" if devices > 1 else "auto"
        process = start(folder, *options, f"--devices={devices}", f"--strategy={strategy}")
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        checkpoints.append(load_checkpoint(folder / "last.ckpt"))
    one, three = checkpoints
    kept = [load_file(tmp_path / str(devices) / "outcomes.safetensors")["outcomes"] for devices in (1, 3)]
    assert torch.equal(*kept)  # in the order of the images, whichever process had them
    for ours, theirs in zip(three["history"], one["history"], strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-6)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-6)
        assert ours["val_accuracy"] == theirs["val_accuracy"]
        assert ours["val_images"] == theirs["val_images"] == 32
    for key, value in one["state_dict"].items():
        if "mean_norm" in key or "radius" in key:
            torch.testing.assert_close(three["state_dict"][key], value, rtol=1e-6, atol=1e-8)


@pytest.mark.long
def test_two_processes_stop_together_and_another_number_goes_on(tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    options = ("--precision=64-true", "--no-batch-norm", "--epochs=6", "--batch-size=8")
    output, _ = (process := start(whole, *options)).communicate(timeout=240)
    assert process.returncode == 0, output
    process = start(folder, *options, "--devices=2", "--strategy=ddp", "--checkpoint-minutes=0")
    wait_for(folder / "last.ckpt", process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    resumed = start(folder, *options, "--resume")
    output, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, output
    ours, theirs = (load_checkpoint(f / "last.ckpt")["history"] for f in (folder, whole))
    assert len(ours) == len(theirs) == 6
    for a, b in zip(ours, theirs, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"devices": 3, "batch_size": 32},
            "batch_size = 32 received for 3 processes; needed: a multiple of 3",
        ),
        (
            {"devices": 2, "download": True},
            "download = True received for 2 processes; needed: one process; download first",
        ),
    ],
)
def test_what_several_processes_cannot_do(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig.of(**options)


def test_plain_convolution_says_what_it_ignores(tmp_path: Path) -> None:
    options = {**SMALL, "operator": "conv", "epochs": 1, "orthogonality": 1e-5, "radius": 2.0}
    with pytest.warns(UserWarning, match="conv ignores radius, orthogonality"):
        task = train(TrainConfig.of(**options), tmp_path / "ignored", quiet=True)
    del options["orthogonality"], options["radius"]
    plain = train(TrainConfig.of(**options), tmp_path / "plain", quiet=True)
    assert timeless(task.history[0]) == timeless(plain.history[0])


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_precisions(precision: str, tmp_path: Path) -> None:
    options = {**SMALL, "epochs": 1, "precision": precision, "radius": "learned", "project_every": 2}
    options |= {"orthogonality": 1e-5, "weighted_gradients": True}
    task = train(TrainConfig.of(**options), tmp_path / "own", quiet=True)
    usual = train(TrainConfig.of(**{**options, "precision": "32-true"}), tmp_path / "usual", quiet=True)
    assert task.history[0]["train_loss"] == pytest.approx(usual.history[0]["train_loss"], rel=0.05)
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
    task = train(TrainConfig.of(**options), tmp_path, quiet=True)
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
