"""The examples run as they stand, in seconds."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(monkeypatch, name: str, *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]()


def test_all_are_tested() -> None:
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {
        "drop_in_layer",
        "convert_pretrained",
        "deploy",
        "video_clips",
    }


def test_drop_in_layer(monkeypatch) -> None:
    assert run(monkeypatch, "drop_in_layer") > 0.3


def test_convert_pretrained(monkeypatch, tmp_path: Path) -> None:
    difference, calibration = run(monkeypatch, "convert_pretrained", "--out", str(tmp_path), "--steps", "2")
    assert difference == 0
    assert calibration.after.error < 0.5 < calibration.before.error
    assert "| Steps of fine-tuning | 2 |" in (tmp_path / "README.md").read_text()


def test_deploy(monkeypatch, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert run(monkeypatch, "deploy", "--out", str(tmp_path)) < 1e-4


def test_video_clips(monkeypatch) -> None:
    """Which way something moves: no single frame tells, and a guess is right in a quarter."""
    report, accuracy = run(monkeypatch, "video_clips", "--steps", "30", "--size", "12")
    assert len(report.converted) == 9
    assert all(fate.became == "DecoupledConv3d tanh-cos" for fate in report.converted)
    assert accuracy > 0.7
