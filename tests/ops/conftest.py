"""What the tests of operations share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import decoupled_nets as dn


@pytest.fixture
def without_binary(tmp_path: Path) -> Callable[[str], Any]:
    """``without_binary(script)``: what a script saves to `OUT`, in a process whose package has no kernels."""

    def run(script: str) -> Any:
        copy = tmp_path / "decoupled_nets"
        copy.mkdir()
        for part in Path(dn.__file__).parent.iterdir():
            if part.suffix != ".so":
                (copy / part.name).symlink_to(part)
        out = tmp_path / "out.pt"
        beginning = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); OUT = {str(out)!r}\n"
            "sys.meta_path = [f for f in sys.meta_path if 'editable' not in type(f).__module__]\n"
            "import warnings, torch, decoupled_nets as dn\n"
            "from decoupled_nets.ops import backend\n"
            f"assert dn.__file__.startswith({str(tmp_path)!r}), dn.__file__\n"
            "assert not backend.status.loaded\n"
            "torch.manual_seed(0)\n"
        )
        subprocess.run([sys.executable, "-c", beginning + script], check=True)
        return torch.load(out, weights_only=True)

    return run
