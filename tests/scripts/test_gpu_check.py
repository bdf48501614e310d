"""The checks of a card, rehearsed on a processor: whoever has one for an hour must not find them broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "section",
    [pytest.param("layers", marks=pytest.mark.sweep), pytest.param("correct", marks=pytest.mark.long)],
)
def test_rehearsal(section, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, ROOT / "scripts" / "gpu_check.py", "--out", tmp_path, "--dry-run"]
    done = subprocess.run(
        [*map(str, command), "--sections", section], env=environment, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    found = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    wrong = [one for one in found if one.get("ok") is False or ("error" in one and "ok" not in one)]
    assert not wrong
    names = " ".join(one["name"] for one in found)
    assert {"layers": "backward given-spline", "correct": "spline-spline bfloat16 last"}[section] in names
