"""The script that plants faults, and its list."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_list_of_faults_names_files_and_tests_that_exist():
    from _faults import FAULTS

    assert len({str(fault) for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert (ROOT / "src" / "decoupled_nets" / fault.file).is_file(), fault
        assert all((ROOT / test).exists() for test in fault.tests), fault
        assert fault.old != fault.new


@pytest.mark.long
def test_planting_faults(tmp_path):
    """Of three faults one is caught, one survives, and one does not apply."""
    package = tmp_path / "src" / "decoupled_nets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "sums.py").write_text("def total(a, b):\n    return a + b\n\n\ndef unseen():\n    return 1\n")
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_sums.py").write_text(
        "from decoupled_nets.sums import total\n\n\ndef test_total():\n    assert total(1, 2) == 3\n"
    )
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "scripts")!r})
import plant_faults as tool
tool.Fault.tests = ("tests/test_sums.py",)
TEXTS = ("a + b", "a - b"), ("return 1", "return 2"), ("c", "")
tool.ROOT = Path({str(tmp_path)!r})
tool.FAULTS = [tool.Fault("sums.py", *texts) for texts in TEXTS]
print(tool.main(["--record", str(tool.ROOT / "record.jsonl")]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "sums.py: 1 of 3 caught" in out
    assert "survived: sums.py: 'return 1' -> 'return 2'" in out
    assert "does not apply: sums.py: 'c' -> ''" in out
    assert "a + b" in (package / "sums.py").read_text()
