"""What the tests of calibration share."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import decoupled_nets as dn


def network() -> nn.Sequential:
    """Untrained, but with BatchNorms that know their inputs."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.Flatten(),
        nn.Linear(8 * 9, 5),
    )
    torch.optim.swa_utils.update_bn(BATCHES, model)
    return model.eval()


GENERATOR = torch.Generator().manual_seed(5)
BATCHES = [2 * torch.rand(32, 3, 8, 8, generator=GENERATOR) - 0.5 for _ in range(4)]
X = torch.cat(BATCHES)


def error(model, plain) -> float:
    with torch.no_grad():
        expected = plain(X)
        spread = (expected - expected.mean(0)).square().mean().sqrt()
        return float((model(X) - expected).square().mean().sqrt() / spread)


def refused(model, text, **options):
    state = copy.deepcopy(model.state_dict())
    with pytest.raises((ValueError, TypeError), match=text):
        dn.calibrate(model, **options)
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def patch_norm_by_unfold(x, groups, stride, eps):
    patches = x.unfold(2, 3, stride).unfold(3, 3, stride).unflatten(1, (groups, -1))
    return (patches.square().sum((2, 5, 6)) + eps).sqrt()
