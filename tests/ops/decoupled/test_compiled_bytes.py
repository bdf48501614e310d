"""What a compiled layer moves through a card's memory, counted in the code that inductor generates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.__version__.startswith("2.14"), reason="inductor's own names, and its counts, change"
    ),
]
EPILOGUE = 3  # maps that the opaque op reads and writes


def maps(operator: str, path: str = "auto") -> tuple[float, float]:
    """Maps that a layer moves forward and backward, without cuDNN and our own kernels."""
    script = Path(__file__).with_name("run_inductor_bytes.py")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), operator, path], env=env, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    forward, backward = map(float, done.stdout.split())
    return forward, backward


@pytest.mark.long
def test_the_response_is_computed_again_and_not_written_down():
    """A map more that BatchNorm's gradient has to read, in float32, would be four to six more here."""
    forward, backward = maps("tanh-cos")
    assert forward <= 4.1
    assert backward <= 8.3


@pytest.mark.long
@pytest.mark.parametrize("operator", ["ball-cos", "linear-cos", "tanh-sqcos", "seg-cos"])
def test_less_than_composed(operator):
    plain, own, composed = (sum(maps(*one)) for one in (("conv",), (operator,), (operator, "composed")))
    assert own + EPILOGUE - plain <= 4.3
    assert composed - plain > 2 * (own + EPILOGUE - plain) or operator == "linear-cos"
