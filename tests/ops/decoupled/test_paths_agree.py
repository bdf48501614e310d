"""The compiled path against the composed one over ten thousand settings, special values included."""

from __future__ import annotations

import pytest
import torch
from settings import differences, draw, outcome, tensors_of

from decoupled_nets.ops import backend
from decoupled_nets.ops.decoupled import kernels

SETTINGS, AT_A_TIME = 10_000, 250

pytestmark = pytest.mark.skipif(not backend.status.loaded, reason="the binary was not built")


@pytest.fixture(autouse=True)
def one_thread():
    """Threads take longer to start than these sizes take."""
    torch.set_num_threads(1)


@pytest.mark.parametrize("first", range(0, SETTINGS, AT_A_TIME))
def test_value_and_every_gradient(first):
    wrong = []
    for number in range(first, first + AT_A_TIME):
        setting = draw(number)
        if found := differences(setting):
            lines = [f"    {name}: {text}" for name, text in found.items()]
            wrong.append("\n".join([str(setting), *lines]))
    assert not wrong, f"{len(wrong)} of {AT_A_TIME} settings differ\n" + "\n".join(wrong[:5])


def test_most_settings_take_the_compiled_path(monkeypatch):
    """Beside empty batches and uses the kernels do not know, which take the composed path."""
    taken, original = [], kernels.respond
    monkeypatch.setattr(kernels, "respond", lambda *given: taken.append(given) or original(*given))
    for number in range(AT_A_TIME):
        setting = draw(number)
        outcome(setting, tensors_of(setting), compiled=True)
    assert len(taken) > 0.6 * AT_A_TIME


def test_a_nan_of_any_bits_stays_one_in_bfloat16():
    """Rounded as a number, the largest NaN would come out as minus zero."""
    norm = torch.full((1, 1, 4, 4), 0x7FFFFFFF, dtype=torch.int32).view(torch.float32)
    z = torch.ones(1, 3, 4, 4, dtype=torch.bfloat16)
    out = torch.ops.decoupled_nets.epilogue(
        z, norm, torch.ones(3), None, None, None, None, None, "linear", "cos", 1.0, 1.0
    )
    assert out.isnan().all()
