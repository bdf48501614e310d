"""The README's Python runs, block after block, and the files that it names are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
#: What a test cannot do or has no time for; each has to be there.
SHORTER = {
    "pretrained=True": "pretrained=False",
    "operator=operator, width=0.125": "data='synthetic', train_size=40, operator=operator, width=1 / 16",
}


def test_code(tmp_path):
    """In a process of its own, for what it registers stays registered."""
    pytest.importorskip("onnx", reason="of the extra onnx")
    code = "\n".join(BLOCKS)
    for long, short in SHORTER.items():
        assert long in code
        code = code.replace(long, short)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "network.onnx").is_file()
    assert (tmp_path / "runs" / "converted" / "model.safetensors").is_file()
    assert (tmp_path / "runs" / "seg-sqcos" / "best.ckpt").is_file()


def test_links():
    named = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert "docs/cost.md" in named
    assert [name for name in named if not (README.parent / name).exists()] == []
