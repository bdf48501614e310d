"""What the tests of experiments share."""

from __future__ import annotations

from pathlib import Path

import job_cases
import pytest

from decoupled_nets.experiment import dispatch


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The engine `local` with threads for workers; gives how many were started at a time."""
    monkeypatch.setattr(dispatch, "engines", lambda: {"local": job_cases.Threads})
    monkeypatch.setattr(dispatch, "POLL", 0.05)
    job_cases.Threads.started.clear()
    return job_cases.Threads.started


@pytest.fixture
def cases_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other processes find the functions of job_cases."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
