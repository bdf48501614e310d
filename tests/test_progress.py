"""Progress without a terminal, and durations."""

import io

import pytest
from rich.console import Console

import decoupled_nets._progress as module
from decoupled_nets._files import write_text
from decoupled_nets._progress import Progress


def test_plain_lines_estimate_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 5.0, 12.0, 12.0, 12.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    text = io.StringIO()
    with Progress(100, "work", console=Console(file=text)) as progress:
        progress.skip(40)
        progress.advance(10)  # after 5 s: too soon to say anything
        progress.advance(10)  # after 12 s: 20 of the 60 that were left
        progress.say("a line")
    assert text.getvalue() == "work: 60 %, about 24 s left\na line\n"


def test_more_steps_than_expected_have_no_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 11.0, 11.0, 22.0, 22.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    text = io.StringIO()
    with Progress(100, "work", console=Console(file=text)) as progress:
        progress.advance(100)
        progress.advance(20)
    assert text.getvalue() == "work: 100 %, nearly done\n" * 2


def test_a_terminal_gets_a_bar() -> None:
    text = io.StringIO()
    with Progress(4, "work", console=Console(file=text, force_terminal=True, width=60)) as progress:
        progress.describe("other")
        progress.advance(4)
    assert "4/4" in text.getvalue()


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, "work", quiet=True) as progress:
        progress.say("nothing")
        progress.advance()
    assert capsys.readouterr() == ("", "")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text(tmp_path / "a" / "file.txt", "old")
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\udc80")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]
