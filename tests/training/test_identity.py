"""A result belongs to its options, its data and its version."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import decoupled_nets.training.folder as folder_module
from decoupled_nets.data import ImageData
from decoupled_nets.training import TaskModule, TrainConfig, callbacks, load_checkpoint, train

SMALL = {"width": 0.03, "epochs": 2, "batch_size": 16, "image_size": 32, "lr": 3e-3, "workers": 0}


def write(folder: Path, shade: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (shade, 255 - shade, shade // 2)).save(folder)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes, 12 + 4 + 4 images of each."""
    root = tmp_path / "pets"
    for split, each in (("train", 12), ("val", 4), ("test", 4)):
        for k, name in enumerate(("cat", "dog")):
            for n in range(each):
                write(root / split / name / f"{n}.png", 100 * k + 7 * n)
    return root


def config(data: Path, **changes: object) -> TrainConfig:
    return TrainConfig.of(data=str(data), **{**SMALL, **changes})


def test_a_run_notes_its_data_and_its_version(pets: Path, tmp_path: Path) -> None:
    train(config(pets), tmp_path / "run", quiet=True)
    noted = json.loads((tmp_path / "run" / "data.json").read_text())
    assert noted["version"] == folder_module.__version__
    assert [(s["name"], s["images"]) for s in noted["found"]["splits"]] == [
        ("training", 24), ("validation", 8), ("test", 8)
    ]  # fmt: skip
    assert load_checkpoint(tmp_path / "run" / "last.ckpt")["decoupled_nets"]["digest"] == noted["digest"]


def test_other_data_is_refused_and_named(pets: Path, tmp_path: Path) -> None:
    train(config(pets), tmp_path / "run", quiet=True)
    before = (tmp_path / "run" / "last.ckpt").read_bytes()
    for n in range(3, 12):
        (pets / "train" / "cat" / f"{n}.png").unlink()
    with pytest.raises(ValueError, match=r"data: training: 15 images now, 24 then.*--restart trains anew"):
        train(config(pets), tmp_path / "run", resume=True, quiet=True)
    for split in ("train", "val", "test"):
        shutil.copytree(pets / split / "dog", pets / split / "fox")
    with pytest.raises(ValueError, match="classes: cat, dog, fox now, cat, dog then"):
        train(config(pets), tmp_path / "run", resume=True, quiet=True)
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before


def test_as_many_images_with_other_labels_are_other_data(pets: Path, tmp_path: Path) -> None:
    train(config(pets), tmp_path / "run", quiet=True)
    cat, dog = (pets / "train" / name / "0.png" for name in ("cat", "dog"))
    cat.rename(pets / "train" / "dog" / "100.png")
    dog.rename(pets / "train" / "cat" / "100.png")
    with pytest.raises(ValueError, match="as many images of the same classes, but other files or labels"):
        train(config(pets), tmp_path / "run", resume=True, quiet=True)


def test_moved_data_is_the_same_data(pets: Path, tmp_path: Path) -> None:
    first = train(config(pets), tmp_path / "run", quiet=True)
    pets.rename(tmp_path / "animals")
    again = train(config(tmp_path / "animals"), tmp_path / "run", resume=True, quiet=True)
    assert again.history == first.history


def test_another_version_is_refused(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(config(pets), tmp_path / "run", quiet=True)
    monkeypatch.setattr(folder_module, "__version__", "99.0")
    with pytest.raises(ValueError, match=r"version: 99\.0 now, .* then"):
        train(config(pets), tmp_path / "run", resume=True, quiet=True)


def test_a_run_without_a_note_of_its_data_is_refused(pets: Path, tmp_path: Path) -> None:
    train(config(pets), tmp_path / "run", quiet=True)
    (tmp_path / "run" / "data.json").unlink()
    with pytest.raises(ValueError, match="did not note its data"):
        train(config(pets), tmp_path / "run", resume=True, quiet=True)


def test_restart_trains_anew_and_leaves_what_is_not_the_runs(pets: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(config(pets), folder, quiet=True)
    (folder / "notes.txt").write_text("mine")
    old = load_checkpoint(folder / "last.ckpt")["state_dict"]
    with pytest.raises(FileExistsError, match="--resume goes on with it, --restart trains anew"):
        train(config(pets, seed=1), folder, quiet=True)
    trained = train(config(pets, seed=1), folder, restart=True, quiet=True)
    assert len(trained.history) == 2
    new = load_checkpoint(folder / "last.ckpt")["state_dict"]
    assert any(not torch.equal(old[name], new[name]) for name in old)
    assert (folder / "notes.txt").read_text() == "mine"


def scores(monkeypatch: pytest.MonkeyPatch, *accuracies: float) -> None:
    """Let validation accuracy be what the test says, epoch by epoch."""

    def log(self: TaskModule) -> None:
        self.log("val/accuracy", torch.tensor(accuracies[self.current_epoch]))
        self.log("val/loss", torch.tensor(0.0))

    monkeypatch.setattr(TaskModule, "on_validation_epoch_end", log)


def interrupted_after(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    saved = callbacks.LastCheckpoint.on_train_epoch_end

    def end(self, trainer, module, *more):  # type: ignore[no-untyped-def]
        saved(self, trainer, module, *more)
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.LastCheckpoint, "on_train_epoch_end", end)


def test_a_moved_run_keeps_its_best_epoch(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(monkeypatch, 0.9, 0.5, 0.6)
    with monkeypatch.context() as patch:
        interrupted_after(patch, 0)
        with pytest.raises(KeyboardInterrupt):
            train(config(pets, epochs=3), tmp_path / "scratch", quiet=True)
    shutil.move(tmp_path / "scratch", tmp_path / "home")
    trained = train(config(pets, epochs=3), tmp_path / "home", resume=True, quiet=True)
    assert load_checkpoint(tmp_path / "home" / "best.ckpt")["epoch"] == 0
    assert trained.tested is not None
    assert trained.tested["epoch"] == 1  # epochs count from 1 in what users see


def test_a_best_epoch_that_is_gone_is_said(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(monkeypatch, 0.9, 0.5)
    with monkeypatch.context() as patch:
        interrupted_after(patch, 0)
        with pytest.raises(KeyboardInterrupt):
            train(config(pets), tmp_path, quiet=True)
    (tmp_path / "best.ckpt").unlink()
    with pytest.warns(UserWarning, match=r"best\.ckpt is gone: the best epoch is chosen from here on"):
        train(config(pets), tmp_path, resume=True, quiet=True)
    assert load_checkpoint(tmp_path / "best.ckpt")["epoch"] == 1


def test_the_test_images_are_read_once_at_the_end_for_the_best_epoch(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    loader, epoch_end = ImageData.test_loader, callbacks.LastCheckpoint.on_train_epoch_end

    def counted(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        events.append("test")
        return loader(self, *args, **kwargs)

    def ended(self, *args):  # type: ignore[no-untyped-def]
        events.append("epoch")
        return epoch_end(self, *args)

    monkeypatch.setattr(ImageData, "test_loader", counted)
    monkeypatch.setattr(callbacks.LastCheckpoint, "on_train_epoch_end", ended)
    scores(monkeypatch, 0.5, 0.9, 0.1)
    trained = train(config(pets, epochs=3), tmp_path, quiet=True)
    assert events == ["epoch", "epoch", "epoch", "test"]
    assert trained.tested == json.loads((tmp_path / "test.json").read_text())
    assert (trained.tested["epoch"], trained.tested["images"]) == (2, 8)
    last = load_checkpoint(tmp_path / "last.ckpt")["state_dict"]
    assert all(torch.equal(value, last[name]) for name, value in trained.state_dict().items())
    again = train(config(pets, epochs=3), tmp_path, resume=True, quiet=True)
    assert again.tested == trained.tested
    assert events == ["epoch", "epoch", "epoch", "test"]


def test_the_best_epochs_network_is_tested_and_not_the_last(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def start(self: TaskModule) -> None:
        begin(self)
        seen.append({name: value.clone() for name, value in self.state_dict().items()})

    begin = TaskModule.on_test_epoch_start
    monkeypatch.setattr(TaskModule, "on_test_epoch_start", start)
    scores(monkeypatch, 0.9, 0.5)
    train(config(pets), tmp_path, quiet=True)
    best, last = (load_checkpoint(tmp_path / f"{name}.ckpt")["state_dict"] for name in ("best", "last"))
    assert all(torch.equal(seen[0][name], best[name]) for name in best)
    assert any(not torch.equal(seen[0][name], last[name]) for name in last)
