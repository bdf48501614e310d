"""The compiled path against the composed one over ten thousand settings, special values included."""

from __future__ import annotations

import pytest
import torch
from settings import differences, draw

from decoupled_nets.ops import _library, fused

SETTINGS, AT_A_TIME = 10_000, 250

pytestmark = pytest.mark.skipif(not _library.status.loaded, reason="the binary was not built")


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
    """Beside those the kernels do not know and empty batches, which take the composed one."""
    taken = []
    monkeypatch.setattr(fused, "can_run", lambda *given: taken.append(known(*given)) or taken[-1])
    known = fused.can_run.__wrapped__ if hasattr(fused.can_run, "__wrapped__") else _can_run
    for number in range(AT_A_TIME):
        differences(draw(number))
    assert sum(taken) > 0.6 * AT_A_TIME


_can_run = fused.can_run
