"""``decoupled data``: what a data set is, on one screen."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decoupled_nets.cli.main import main
from decoupled_nets.data import DataConfig, describe_data


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for split in ("Training", "Validation", "Testing"):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for n in range(4):
                Image.fromarray(np.full((8, 8), n, dtype=np.uint8)).save(folder / f"{n}.png")
    (tmp_path / "pets" / "notes.txt").touch()
    return tmp_path / "pets"


def test_the_table(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(pets)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for words in (
        "training",
        "8  ",
        "Training/",
        "Validation/",
        "2, 12 images each: cat, dog",
        "8×8",
        "notes.txt",
    ):
        assert words in out
    assert main(["data", "--data", str(pets), "--train-size", "4"]) == 0
    assert "Training/: 4 of 8" in capsys.readouterr().out


def test_options_choose(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--val-split", "Testing", "--test-split=validation", "--no-augment", "--pixel-range", "[0, 3]"]
    assert main(["data", str(pets), *options]) == 0
    out = capsys.readouterr().out
    assert out.index("Testing/") < out.index("Validation/")
    assert "no augmentation" in out
    assert "--pixel-range is ignored" in out


def test_options_are_named_as_they_are_typed(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = pets.parent / "cut"
    shutil.copytree(pets / "Training", cut)
    assert main(["data", str(cut), "--split-seed=3", "--train-size=4"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "at random, by --split-seed 3" in out
    assert "at random, by split_seed=3" in describe_data(DataConfig(str(cut), split_seed=3)).notes[-1]
    assert main(["data", str(cut), "--val-size", "9"]) == 2
    assert "error: --val-size 9 received; needed" in capsys.readouterr().err


def test_the_sample_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    assert "Fashion-MNIST sample" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no/such/folder"], "no/such/folder does not exist"),
        (["pets", "--val-split", "dev0"], "--val-split 'dev0' received; needed: one of the splits there are"),
        (["pets/Training/cat"], "has images and no class folders"),
    ],
)
def test_errors_are_one_line(
    pets: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(pets.parent)
    assert main(["data", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_stream_that_cannot_show_a_name_is_no_reason_to_stop(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    assert main(["data", str(pets)]) == 0
    stream.flush()
    assert b"training" in stream.buffer.getvalue()  # type: ignore[attr-defined]
