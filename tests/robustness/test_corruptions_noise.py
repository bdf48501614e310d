"""Noise on one grey, where mean and variance after clipping and truncation are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from corruption_formulas import BOTH, SEVERITY, constant
from torch import Tensor

from decoupled_nets.robustness.corruptions import corrupt


def clipped(centre: float, deviation: float) -> tuple[float, float]:
    """Mean and deviation of a normal value clipped to [0, 1] and truncated to 8 bits, in levels."""
    edges = (np.arange(257) / 255 - centre) / deviation
    below = np.array([0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges])
    below[0], below[255:] = 0, (below[255], 1)
    chances = np.diff(below)
    values = np.arange(256)
    mean = chances @ values
    return mean, math.sqrt(chances @ (values - mean) ** 2)


def flat(grey: int) -> Tensor:
    """Twelve images of one grey, told apart by their first pixel."""
    images = torch.full((12, 3, 64, 64), grey / 255)
    images[:, 0, 0, 0] = torch.arange(12) / 255
    return images


@BOTH
@SEVERITY
@pytest.mark.parametrize("grey", [40, 128, 230])
@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
def test_normal_noise(name: str, grey: int, severity: int, constants: str) -> None:
    values = corrupt(flat(grey), name, severity, constants=constants)[:, :, 1:] * 255
    deviation = constant(name, constants, severity) * (grey / 255 if name == "speckle_noise" else 1)
    mean, sd = clipped(grey / 255, deviation)
    # 145,000 values: five standard errors of each
    assert values.mean().item() == pytest.approx(mean, abs=5 * sd / math.sqrt(values.numel()) + 0.01)
    assert values.std().item() == pytest.approx(sd, rel=0.02)


@BOTH
@SEVERITY
@pytest.mark.parametrize("grey", [1, 40, 128])
def test_shot_noise_is_poisson(grey: int, severity: int, constants: str) -> None:
    photons = constant("shot_noise", constants, severity)
    values = corrupt(flat(grey), "shot_noise", severity, constants=constants)[:, :, 1:]
    counts = np.arange(1500)
    rate = grey / 255 * photons
    chances = np.exp(counts * math.log(rate) - rate - np.array([math.lgamma(n + 1) for n in counts]))
    steps = np.floor(np.clip(counts / photons, 0, 1) * 255 + 1e-6)
    mean = chances @ steps
    sd = math.sqrt(chances @ (steps - mean) ** 2)
    found = values * 255
    assert found.mean().item() == pytest.approx(mean, abs=5 * sd / math.sqrt(found.numel()) + 0.01)
    assert found.std().item() == pytest.approx(sd, rel=0.03)
    assert set(found.round().unique().tolist()) <= set(steps.tolist())


@BOTH
@SEVERITY
def test_impulse_noise(severity: int, constants: str) -> None:
    share = constant("impulse_noise", constants, severity)
    values = corrupt(flat(128), "impulse_noise", severity, constants=constants)[:, :, 1:]
    for extreme in (0, 1):
        found = (values == extreme).float().mean().item()
        assert found == pytest.approx(share / 2, abs=5 * math.sqrt(share / 2 / values.numel()))
    assert ((values == 0) | (values == 1) | ((values * 255).round() == 128)).all()
    hit = (values * 255).round() != 128
    both = (hit[:, 0] & hit[:, 1]).float().mean().item()
    assert both == pytest.approx(share**2, abs=0.004)  # each channel by itself


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_noise_is_white_and_its_own_in_every_channel(name: str) -> None:
    noise = corrupt(flat(128), name, 5)[:, :, 1:].double()
    noise = noise - noise.mean()
    power = torch.fft.fft2(noise).abs().square().mean((0, 1)).flatten()[1:]
    assert (power / power.mean()).max() < 3  # 36 samples of each frequency
    pairs = torch.corrcoef(noise.transpose(0, 1).flatten(1))
    assert (pairs - torch.eye(3)).abs().max() < 0.03
