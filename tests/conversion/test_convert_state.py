"""What a conversion leaves as it was: what it tries and counts runs on copies."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import decoupled_nets as dn


class Counting(nn.Module):
    """It counts its calls, draws random numbers, and changes its input."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.register_buffer("calls", torch.zeros(()))
        self.seen = 0

    def forward(self, x):
        self.calls += 1
        self.seen += 1
        x.mul_(2)
        return self.c(self.b(F.dropout(self.a(x), 0.5, True)))


@pytest.mark.parametrize("dry_run", [True, False])
def test_counting_flops_is_not_noticed(dry_run):
    model, x, hooked = Counting(), torch.rand(1, 3, 9, 9), []
    model.a.register_forward_hook(lambda *_: hooked.append(1))
    before, state = x.clone(), torch.random.get_rng_state()
    report = dn.convert(model, example_input=x, dry_run=dry_run)
    assert report.flops[0] > 0
    assert (model.seen, float(model.calls), hooked) == (0, 0, [])
    assert torch.equal(x, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_flops_of_what_cannot_be_copied():
    model = Counting()
    model.lock = threading.Lock()
    assert dn.convert(model, example_input=torch.rand(1, 3, 9, 9)).flops[0] > 0
    assert model.training


def test_a_network_converted_in_inference_mode_can_be_trained():
    model = Counting()
    with torch.inference_mode():
        dn.convert(model)
    model(torch.rand(1, 3, 9, 9)).sum().backward()
    assert float(model.a.radius.grad.abs().sum()) > 0
