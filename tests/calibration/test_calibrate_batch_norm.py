"""BatchNorms behind calibrated layers: they take a shift of the mean, or average anew."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from calibration_cases import BATCHES, X, network, refused
from torch import nn

import decoupled_nets as dn


def test_batch_norms_average_over_the_batches(near):
    model = network()
    dn.convert(model)
    dn.calibrate(model, [(batch, torch.zeros(32)) for batch in BATCHES], reset_batch_norm=True)
    assert model[1].momentum == 0.1
    twin = copy.deepcopy(model)
    torch.optim.swa_utils.update_bn(BATCHES, twin)
    # The first batches passed before the layer had seen the last ones.
    torch.testing.assert_close(model[1].running_mean, twin[1].running_mean, rtol=0.1, atol=0.02)
    torch.testing.assert_close(model[1].running_var, twin[1].running_var, rtol=0.1, atol=0.02)
    assert model[1].num_batches_tracked == 4


def test_batch_norms_whose_averages_are_not_the_batches():
    """As of a trained network and a few small batches."""
    plain = network()
    plain[1].running_mean.add_(0.3)
    plain[1].running_var.mul_(5.0)
    model = copy.deepcopy(plain)
    dn.convert(model, "linear-cos")
    few = [batch[:8] for batch in BATCHES]
    report = dn.calibrate(copy.deepcopy(model), few)
    assert report.after.error < 0.05 < report.before.error
    again = dn.calibrate(model, few, reset_batch_norm=True)
    assert again.after.error > 0.5  # the plain network's response is another then


def test_batch_norms_before_the_first_decoupled_layer_stay():
    model = network()
    dn.convert(model, select="6")
    model.insert(4, nn.BatchNorm2d(8).eval())
    mean = model[1].running_mean.clone()
    dn.calibrate(model, BATCHES, reset_batch_norm=True)
    assert torch.equal(model[1].running_mean, mean)
    assert model[4].num_batches_tracked == 0


@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_a_shift_goes_to_the_batch_norm_behind(norm):
    """Responses of patches with a mean shift when they saturate; without a bias BatchNorm takes that."""
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()).eval()
    torch.optim.swa_utils.update_bn([X], plain)
    if norm == "frozen":
        frozen = torchvision.ops.FrozenBatchNorm2d(8)
        frozen.load_state_dict(plain[1].state_dict(), strict=False)
        plain[1] = frozen
    model = copy.deepcopy(plain.eval())
    dn.convert(model, "sphere-cos", select=dn.Select(outputs=True))
    twin = copy.deepcopy(model)
    dn.calibrate(model, [X])
    with torch.no_grad():
        means = [m[:2](X).mean((0, 2, 3)) for m in (model, plain)]
    torch.testing.assert_close(*means, atol=1e-4, rtol=1e-3)
    assert torch.equal(model[1].running_var, plain[1].running_var)
    # What takes something else besides keeps its mean, and so does what takes a layer with a bias.
    inner = twin[1]
    twin[1] = nn.Sequential(nn.Identity(), nn.Dropout(0.0), Twice(inner))
    dn.calibrate(twin, [X])
    assert torch.equal(inner.running_mean, plain[1].running_mean)
    biased = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3)).eval()
    dn.convert(biased)
    dn.calibrate(biased, [X])
    assert torch.equal(biased[1].running_mean, torch.zeros(8))


class Twice(nn.Module):
    """Normalises what comes, and something else."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return self.norm(x) + self.norm(x.flip(0))


def test_means_of_the_reference_are_those_that_are_shifted():
    plain = network()
    model = copy.deepcopy(plain)
    dn.convert(model, "sphere-cos")
    once = dn.calibrate(model, BATCHES)
    mean = model[1].running_mean.clone()
    again = dn.calibrate(model, BATCHES, reference=plain)
    assert not torch.equal(mean, plain[1].running_mean)
    torch.testing.assert_close(model[1].running_mean, mean)
    assert again.after == once.after


def test_a_shift_is_undone_when_calibration_fails():
    model = network()
    dn.convert(model)
    refused(model, "infinite|infinities", batches=[X, X * 1e38])
