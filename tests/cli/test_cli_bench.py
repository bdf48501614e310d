"""``decoupled bench`` on the command line."""

import json
from pathlib import Path

import pytest

from decoupled_nets.bench import conv, run
from decoupled_nets.cli.main import main

TINY = ["bench", "conv", "--width", "0.03", "--batch-size", "2", "--rounds", "2", "--operators", "ball-cos"]


@pytest.fixture(autouse=True)
def short_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(conv, "LEAST_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)


def test_without_a_grid_it_is_cnn9(tmp_path: Path) -> None:
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    measured = json.loads((tmp_path / "conv.json").read_text(encoding="utf-8"))
    assert measured["environment"]["threads"]
    assert [m["convolution"] for m in measured["measured"]] == ["nn.Conv2d again", "ball-cos"] * 9


def test_tables_and_paths_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--grid", "imagenet,batch1"]) == 0
    out = capsys.readouterr().out
    assert "Geometric means over the layers of a grid" in out
    for name in ("conv.json", "conv.png"):
        line = next(line.strip() for line in out.splitlines() if line.endswith(name))
        assert Path(line).is_file()


def test_options_decide_the_folder() -> None:
    assert main([*TINY, "--grid", "imagenet"]) == 0
    assert main([*TINY, "--grid", "imagenet", "--paths", "composed"]) == 0
    assert len(list(Path("runs").glob("bench-*/conv.json"))) == 2


def test_unknown_names_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--grid", "--paths"):
        assert main(["bench", option, "nothing"]) == 2
        err = capsys.readouterr().err
        assert "known: " in err
        assert len(err.strip().splitlines()) == 1


def test_an_interrupt_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "measure", interrupted)
    assert main([*TINY, "--fresh", "--out", "here"]) == 130
    err = capsys.readouterr().err
    assert "Go on with: decoupled bench conv --width 0.03" in err
    assert "--fresh" not in err


def test_dynamic_filters(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "ddf", "--width", "0.05", "--size", "0.1", "--batch-size", "2", "--rounds", "2"]
    assert main([*words, "--paths", "op", "--channels-last"]) == 0
    out = capsys.readouterr().out
    assert "op, batch 2: medians (quartiles) relative to depth-wise" in out
    assert "Geometric means over the layers of a grid" in out
    assert len(list(Path("runs").glob("bench-ddf-*/ddf.json"))) == 1
