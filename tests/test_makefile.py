"""The make targets say what they do before they do it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_making_the_environment_is_announced(tmp_path: Path) -> None:
    command = ["make", "-n", "lint", f"VENV={tmp_path / 'none'}"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    installs = [k for k, line in enumerate(lines) if "pip install" in line]
    assert len(installs) == 2
    assert all(lines[k - 1].startswith("echo ") for k in installs)
