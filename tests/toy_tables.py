"""What tests of `decoupled reproduce` share: tables that take seconds."""

from __future__ import annotations

import pytest

TOY = [
    "--data=synthetic", "--image-size=25", "--epochs=1", "--train-size=64", "--val-size=20", "--test-size=40",
    "--batch-size=32", "--width=0.03", "--jobs=1", "--seeds=2", "--accelerator=cpu", "--workers=0",
    "--tune=",
]  # fmt: skip


def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the comparison's page and the cost of a step, which have tests of their own."""
    monkeypatch.setattr("decoupled_nets.compare.run.write_report", lambda results, folder: [])
    monkeypatch.setattr("decoupled_nets.compare.jobs.costs_of", lambda *args: [])
