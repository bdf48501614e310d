"""Learned magnitudes: they start as their named one, at the radius that keeps the plain response."""

from __future__ import annotations

import copy

import pytest
import torch
from calibration_cases import BATCHES, error, network, refused
from torch import nn

import decoupled_nets as dn

ALL = dn.Select(outputs=True)


def calibrated(operator, **options):
    plain = network()
    model = copy.deepcopy(plain)
    dn.convert(model, operator, select=ALL)
    report = dn.calibrate(model, BATCHES, **options)
    return model, report, error(model, plain)


@pytest.mark.parametrize(
    "operator",
    ["power", "spline-spline", "spline-cos@seg-cos", dn.Operator("spline", channel_groups=4, lipschitz=0.5)],
)
def test_a_default_start_keeps_the_answers_as_its_named_operator_does(operator):
    _, report, off = calibrated(operator)
    assert off == pytest.approx(report.after.error, rel=0.01)
    assert off < 0.01
    assert all(layer.note is None and layer.radius > 1.3 for layer in report.layers)
    assert "×" in str(report)
    # As it was: what the shape at a radius of one mean norm costs.
    assert calibrated(operator, radius=None)[2] > 10 * off


def test_a_number_and_the_tolerance_say_how_near():
    errors = [calibrated("spline-cos", radius=radius)[2] for radius in (1.0, 2.0, 4.0)]
    errors += [calibrated("spline-cos", tolerance=tolerance)[2] for tolerance in (1e-3, 1e-4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 30 * errors[-1]


def test_slopes_are_of_the_size_of_others_at_any_radius():
    """A small slope would be a long way to the optimizer's step."""
    for radius in (1.0, 8.0, 64.0):
        model, _, _ = calibrated("spline-cos", radius=radius)
        at_mean = model[3].operator.h(torch.ones(1), parameters=model[3].h_parameters[0].detach())
        assert at_mean.item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("operator", ["spline-cos@linear-cos", "power@sphere-cos"])
def test_a_start_without_a_radius_stays(operator):
    model, report, _ = calibrated(operator)
    (start, _) = model[0].operator.start_parameters()
    torch.testing.assert_close(model[0].h_parameters[0].double(), start)
    assert report.layers[0].radius is None


def test_without_a_radius_what_was_learned_stays():
    model = network()
    dn.convert(model, "spline-spline", select=ALL)
    with torch.no_grad():
        model[0].h_parameters.uniform_(0.5, 1.5)
    learned = {name: p.clone() for name, p in model.named_parameters() if name.endswith("_parameters")}
    dn.calibrate(model, BATCHES, radius=None)
    assert all(torch.equal(model.get_parameter(name), value) for name, value in learned.items())


@pytest.mark.parametrize("weighting", [None, "linear", "product"])
@pytest.mark.parametrize(("rows", "groups"), [(1, 2), (2, 2), (4, 2)])
@pytest.mark.parametrize("radius", ["relative", 0.5])
def test_the_response_is_within_the_tolerance(weighting, rows, groups, radius):
    """Of groups with patches of different sizes, with functions of their own or shared ones."""
    plain = nn.Sequential(nn.Conv2d(4, 8, 3, groups=groups, bias=False), nn.Flatten()).eval()
    with torch.no_grad():
        plain[0].weight.mul_(torch.linspace(0.3, 3, 8).view(-1, 1, 1, 1))
    x = torch.randn(64, 4, 9, 9) * torch.rand(64, 1, 1, 1).exp() * torch.tensor([1, 1, 5, 5]).view(4, 1, 1)
    for magnitude in ("power", "spline"):
        model = copy.deepcopy(plain)
        operator = dn.Operator(magnitude, channel_groups=rows)
        dn.convert(model, operator, select=ALL, weighting=weighting, radius=radius)
        report = dn.calibrate(model, x.split(16), tolerance=0.01)
        assert report.layers[0].note is None
        with torch.no_grad():
            off = (model(x) - plain(x)).square().mean().sqrt() / plain(x).square().mean().sqrt()
        assert 0 < off < 0.013
        apart = (model[0].h_parameters[0] - model[0].h_parameters[-1]).abs().max()
        assert apart == 0 if rows == 1 else apart > 1e-3 or weighting == "product"


@pytest.mark.parametrize("magnitude", ["power", "spline"])
def test_the_report_has_the_radius_that_groups_share(magnitude):
    plain = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2, bias=False), nn.Flatten()).eval()
    x = torch.randn(64, 4, 9, 9) * torch.tensor([1, 1, 4, 4]).view(4, 1, 1)
    dn.convert(plain, magnitude + "-cos", select=ALL)
    least, most = dn.calibrate(plain, x.split(16)).layers[0].radii
    assert most == pytest.approx(4 * least, rel=0.1)


@pytest.mark.parametrize("magnitude", ["power", "spline"])
def test_a_start_that_is_0_at_the_mean_norm_stays(magnitude):
    dn.register_magnitude("test_hard", lambda norm, radius, alpha, beta: (norm - radius / 2).clamp(min=0))
    try:
        model, report, _ = calibrated(f"{magnitude}-cos@test_hard-cos", radius=4.0)
        (start, _) = model[0].operator.start_parameters()
        torch.testing.assert_close(model[0].h_parameters[0].double(), start)
        assert report.layers[0].radius is None
        assert "is learned, and not proportional to the norm now" in report.layers[0].note
    finally:
        dn.unregister_magnitude("test_hard")


def test_what_was_learned_comes_back_if_calibration_fails():
    model = network()
    dn.convert(model, "spline-spline", select=ALL)
    bad = BATCHES[0].clone()
    bad[0, 0, 0, 0] = torch.nan
    good = iter([BATCHES[0]] * 5)  # of the plain network, of the converted one, and the first of its layers'

    def forward(network, batch):
        return network(next(good, bad))

    refused(model, "infinities or NaN", batches=BATCHES[:2], forward=forward)


def test_what_begins_anew_is_said():
    model, report, _ = calibrated("spline-cos")
    assert all(layer.note is None for layer in report.layers)
    with torch.no_grad():
        model[0].h_parameters.mul_(1.5)
    plain = network()
    again = dn.calibrate(model, BATCHES, reference=plain)
    assert "began anew (radius=None keeps it)" in again.layers[0].note
    assert "began anew" in str(again)
    kept = dn.calibrate(model, BATCHES, reference=plain, radius=None)
    assert "began anew" not in (kept.layers[0].note or "")
