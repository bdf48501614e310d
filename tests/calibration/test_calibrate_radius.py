"""Radii by the norms of a layer's own patches."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from calibration_cases import BATCHES, network
from torch import nn

import decoupled_nets as dn
from decoupled_nets.calibration.radius import MARGIN, Norms, bends_angles


def test_the_larger_the_radius_the_nearer():
    plain, errors = network(), []
    for radius in (1.0, 2.0, 4.0, 16.0):
        model = copy.deepcopy(plain)
        dn.convert(model)
        errors.append(dn.calibrate(model, BATCHES, radius=radius).after.error)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


def layer_of(operator="tanh-cos", groups=1, **options):
    """One convolution and its plain twin."""
    plain = nn.Sequential(nn.Conv2d(4, 8, 3, groups=groups), nn.Flatten()).eval()
    model = copy.deepcopy(plain)
    dn.convert(model, operator, select=dn.Select(outputs=True), **options)
    return model, plain


def off(model, plain, x):
    """Root mean square difference of responses in units of the plain one's, without the bias."""
    with torch.no_grad():
        bare = [m[0](x) - m[0].bias.view(-1, 1, 1) for m in (model, plain)]
    return float((bare[0] - bare[1]).square().mean().sqrt() / bare[1].square().mean().sqrt())


@pytest.mark.parametrize("operator", ["tanh-cos", "ball-cos", "seg-cos"])
@pytest.mark.parametrize("weighting", [None, "linear", "product"])
def test_the_response_is_within_the_tolerance(operator, weighting):
    x = torch.randn(64, 4, 9, 9) * torch.rand(64, 1, 1, 1).exp()
    found = []
    for tolerance in (0.05, 0.01, 0.001):
        model, plain = layer_of(operator, weighting=weighting)
        report = dn.calibrate(model, x.split(16), tolerance=tolerance)
        found.append(report.layers[0].radius)
        # Not much less either, or the radius would be wider than it has to be: ball and seg end abruptly.
        assert (0.1 if operator == "tanh-cos" else 0.0) * tolerance < off(model, plain, x) < 1.3 * tolerance
        assert report.layers[0].note is None
    assert found == sorted(found)
    assert found[0] < 5
    if operator != "tanh-cos":
        assert found[-1] < 5  # no wider than the largest patch


def test_radii_are_those_of_a_group():
    """Groups of small and of large patches, with the same share of the bound."""
    x = torch.randn(64, 4, 9, 9) * torch.tensor([1.0, 1.0, 100.0, 100.0]).view(4, 1, 1)
    model, plain = layer_of(groups=2)
    report = dn.calibrate(model, [x])
    effective = model[0].effective_radius(torch.tensor(1.0)).detach()
    torch.testing.assert_close(effective[4:] / effective[:4], torch.full((4,), 100.0), rtol=0.1, atol=0.0)
    low, high = report.layers[0].radii
    assert low <= report.layers[0].radius <= high < 1.1 * low
    with torch.no_grad():
        for half in (slice(0, 4), slice(4, 8)):
            difference = model[0](x)[:, half] - plain[0](x)[:, half]
            assert difference.square().mean() < 1e-4 * plain[0](x)[:, half].var()


def test_groups_that_were_silent_answer_as_the_plain_ones():
    """Their radius is that of all patches, and their scale that of the kernel."""
    silent = torch.randn(64, 4, 9, 9) * torch.tensor([1.0, 1.0, 0.0, 0.0]).view(4, 1, 1)
    model, plain = layer_of(groups=2)
    dn.calibrate(model, [silent])
    x = torch.randn(16, 4, 9, 9)
    assert off(model, plain, x) < 0.05


def test_a_moving_radius_does_not_spoil_the_scale():
    """Patches grow from batch to batch, and the radius with them; tanh's response is inverse to it."""
    x = torch.randn(64, 4, 9, 9)
    batches = [x * factor for factor in (0.1, 0.3, 1.0)]
    model, plain = layer_of()
    dn.calibrate(model, batches)
    assert off(model, plain, torch.cat(batches)) < 0.005


def test_scales_are_of_the_same_inputs_on_both_sides():
    """The first batch passes on what it would with all: contrast differs between batches."""
    plain = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten()).eval()
    model = copy.deepcopy(plain)
    dn.convert(model, "linear-cos", select=dn.Select(outputs=True))
    x = torch.randn(32, 4, 9, 9)
    report = dn.calibrate(model, [x * factor for factor in (0.1, 1.0, 10.0)])
    assert report.after.error < 1e-5


def test_few_patches_get_a_margin():
    many, few = Norms(), Norms()
    norms = torch.rand(1, 100_000) + 0.5
    many.add(norms)
    few.add(norms[:, :100])
    ball = dn.Operator("ball")
    wide, narrow = (float(n.keeping(ball, 0.002, 0.02)[0]) for n in (few, many))
    assert 1.4 < narrow < 1.6
    assert wide > (1 + 0.8 * MARGIN / 10) * narrow / 1.1


def test_norms_do_not_depend_on_batches():
    norms = (3 * torch.randn(5, 4000)).exp()
    whole, parts = Norms(), Norms()
    whole.add(norms)
    for part in norms.split(700, 1):
        parts.add(part)
    parts.add(norms[:, :0])
    assert torch.equal(whole.telling(0.0), parts.telling(0.0))
    assert whole.first == parts.first
    torch.testing.assert_close(whole.means, norms.double().mean(1))
    torch.testing.assert_close(parts.means, whole.means)
    # The histogram knows a norm to two per cent.
    mean = whole.telling(0.0) @ whole.bins / 4000
    torch.testing.assert_close(mean, norms.double().mean(1), rtol=0.025, atol=0.0)


def test_large_maps_are_thinned_out_evenly(monkeypatch):
    monkeypatch.setattr(sys.modules["decoupled_nets.calibration.radius"], "MOST", 1000)
    norms = torch.rand(2, 8000) + torch.tensor([[1.0], [9.0]])
    thin = Norms()
    thin.add(norms)
    assert int(thin.telling(0.0).sum()) < 1100
    mean = thin.telling(0.0) @ thin.bins / thin.telling(0.0).sum(1)
    torch.testing.assert_close(mean, norms.double().mean(1), rtol=0.05, atol=0.0)
    torch.testing.assert_close(thin.means, norms.double().mean(1))


def test_patches_that_are_all_alike_are_within_the_radius():
    same = Norms()
    same.add(torch.full((1, 50), 3.0))
    for name in ("tanh", "ball", "seg"):
        radii, error = same.keeping(dn.Operator(name), 0.002, 0.02)
        assert 3 <= float(radii) < 10
        assert error < 0.002


@pytest.mark.parametrize(
    ("operator", "options", "note"),
    [
        ("sphere-cos", {}, "'sphere' has no radius, and is not proportional to the norm; the response is"),
        ("log-cos", {}, "'log' has no radius"),
        ("spline-cos@log-cos", {}, "'spline' is learned, and not proportional to the norm now"),
        ("linear-cos", {}, None),
        ("ball-cos", {}, None),
        ("tanh-sqcos", {}, "the angle 'sqcos' is not the plain one: no radius keeps the response"),
        ("linear-linear", {}, "the angle 'linear' is not the plain one"),
        ("test_root-cos", {}, "no radius is within the tolerance; the response is"),
        ("tanh-cos", {"radius": 3.0}, "its radius is the number 3, which stays"),
        ("tanh-cos", {"radius": "learned"}, None),
    ],
)
def test_what_cannot_be_kept_is_said(operator, options, note):
    model, _ = layer_of(operator, **options)
    report = dn.calibrate(model, [torch.randn(64, 4, 9, 9) * (1 + torch.rand(64, 1, 1, 1))])
    found = report.layers[0].note
    assert (found is None) if note is None else found.startswith(note)
    assert note is None or f"0: {found}" in str(report)


def test_notes_of_many_layers_are_one_line():
    model = network()
    dn.convert(model, "tanh-cos", radius=3.0)
    report = dn.calibrate(model, BATCHES)
    assert "3 layers, 0 first: its radius is the number 3, which stays" in str(report).splitlines()


@pytest.mark.parametrize(("angle", "bends"), [("cos", False), ("sqcos", True), ("linear", True)])
def test_angles_that_bend(angle, bends):
    assert bends_angles(dn.Operator("tanh", angle)) is bends
    assert bends_angles(dn.Operator("tanh", "sigmoid", k="learned"))


@pytest.mark.parametrize("name", ["test_inverse", "test_indifferent"])
def test_magnitudes_of_users(name):
    """One that is proportional with a small radius, one whose radius changes nothing: it stays."""
    functions = {
        "test_inverse": lambda norm, radius, alpha, beta: norm * (1 + norm * radius),
        "test_indifferent": lambda norm, radius, alpha, beta: norm.sqrt() + 0 * radius,
    }
    dn.register_magnitude(name, functions[name])
    try:
        model, _ = layer_of(f"{name}-cos")
        x = torch.randn(64, 4, 9, 9)
        report = dn.calibrate(model, [x])
        if name == "test_indifferent":
            assert torch.equal(model[0].radius, torch.ones(8))
            assert report.layers[0].note.startswith("no radius is within the tolerance")
        else:
            assert torch.isfinite(model[0](x)).all()
    finally:
        dn.unregister_magnitude(name)
