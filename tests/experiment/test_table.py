"""The table of progress, from the folders of the runs alone."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from job_cases import job
from rich.console import Console

from decoupled_nets import _claims
from decoupled_nets.experiment import run_one, table
from decoupled_nets.experiment.status import Status
from decoupled_nets.experiment.table import Table, look


@pytest.fixture
def four(tmp_path: Path):
    """One done, one failed, one running, one waiting with what a killed worker left."""
    jobs = [job("done"), job("failed", "fail"), job("running"), job("waiting")]
    for one in jobs[:2]:
        run_one(one, tmp_path)
    claim = _claims.take(tmp_path / "runs/running")
    (tmp_path / "runs/waiting").mkdir()
    status = Status("far", 7, 3, 12, "running", "running: epoch 1 of 2, training loss 1.0", 1)
    for name in ("running", "waiting"):
        (tmp_path / "runs" / name / "status.json").write_text(json.dumps(asdict(status)))
    yield jobs, tmp_path
    assert claim is not None
    claim.release()


def test_how_jobs_stand(four) -> None:  # type: ignore[no-untyped-def]
    rows = look(*four, since=0.0)
    assert [row.state for row in rows] == ["done", "failed", "running", "waiting"]
    assert [row.fraction for row in rows] == [1, 1, 0.25, 0]
    assert rows[3].status is None


def drawn(jobs, folder: Path, *, height: int = 40) -> str:  # type: ignore[no-untyped-def]
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=110, height=height, color_system=None)
    with Table(jobs, folder, 0.0, title="runs", console=console):
        pass
    return text.getvalue()


def test_a_terminal_gets_a_table(four) -> None:  # type: ignore[no-untyped-def]
    text = drawn(*four)
    assert "runs: 1 of 4 done, 1 failed" in text
    assert "3 of 12" in text
    assert "far (7)" in text
    assert "epoch 1 of 2, training loss 1.0" in text


def test_a_low_terminal_shows_what_runs_and_what_failed(four) -> None:  # type: ignore[no-untyped-def]
    jobs, folder = four
    text = drawn([job(f"later{n}") for n in range(9)] + jobs, folder, height=10)
    assert "running" in text
    assert "failed" in text
    assert "later8" not in text
    assert "10 more" in text


def test_plain_lines_say_what_is_new(four, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    jobs, folder = four
    text, now = io.StringIO(), [100.0]
    monkeypatch.setattr(table.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(table, "LOOK", 3600.0)
    with Table(jobs, folder, 0.0, console=Console(file=text)) as shown:
        now[0] = 105.0
        shown._update()
        shown._update()
        run_one(jobs[3], folder)
        now[0] = 110.0
        shown._update()
        now[0] = 125.0
        shown._update()
    assert text.getvalue().splitlines() == [
        "failed: failed: ZeroDivisionError: of no use; runs: 1 of 4 done, 1 failed",
        "running: epoch 1 of 2, training loss 1.0",
        "waiting: done; runs: 2 of 4 done, 1 failed, about 8 s left",
        "runs: 2 of 4 done, 1 failed, about 19 s left",
    ]


def test_quiet_says_nothing(four, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    with Table(*four, 0.0, quiet=True):
        pass
    assert capsys.readouterr() == ("", "")
