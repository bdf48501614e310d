"""What distil finds where the answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from known import BATCHES, X, as_seg, network

import decoupled_nets as dn
from decoupled_nets.distillation.fits import Wanted, fit_angle, fit_magnitude


@pytest.mark.parametrize(("rho", "beta"), [(1.0, 0.31), (0.8, -0.2), (1.2, 1.6)])
@pytest.mark.parametrize("radius", ["relative", 3.0])
def test_a_spline_that_is_seg_is_found_to_be_seg(rho, beta, radius):
    model = network(radius=radius)
    as_seg(model, rho, beta)
    averages = {name: float(getattr(m, "mean_norm", 0)) for name, m in model.named_modules()}
    report = dn.distil(model, BATCHES)
    assert [layer.name for layer in report.layers] == ["0", "3"]
    assert report.operator == "seg-cos"
    for layer in report.layers:
        assert layer.h.explained > 0.9999
        unit = 1.0 if radius == "relative" else radius / layer.mean_norm  # a number is no mean norm
        assert layer.mean_norm == (layer.seen_norm if radius != "relative" else averages[layer.name])
        assert layer.constants["ρ"] == pytest.approx(rho * unit, rel=0.01)
        assert layer.constants["β"] == pytest.approx(beta, rel=0.01)
        # h(u) = 1.7 seg(u), while seg-cos takes the norm itself.
        assert layer.scale == pytest.approx(1.7 / (layer.mean_norm * unit), rel=0.01)
    assert "seg-cos" in report.summary
    assert f"0: seg-cos, ρ = {report.layers[0].constants['ρ']:.3g} m, β = {beta:.3g} explains" in str(report)


def test_a_power_is_found_to_be_what_all_constants_tried_say():
    """Brute force: every magnitude on a fine grid of radii, its factor and β by least squares, by hand."""
    model = network("power")
    with torch.no_grad():
        for layer in (model[0], model[3]):
            layer.h_parameters.fill_(0.55)
            layer.g_parameters.fill_(1.0)
    norms = {}
    handle = model[0].register_forward_pre_hook(lambda m, a: norms.update(n=patch_norms(a[0])))
    model(X)
    handle.remove()
    n = norms["n"].double()
    m = float(model[0].mean_norm)
    y = (n / m) ** 0.55
    left = {}
    for name in ("sphere", "ball", "tanh", "linear", "seg", "log"):
        operator = dn.Operator(name)
        trials = []
        for rho in torch.logspace(-1.3, 1.2, 300).tolist() if operator.uses_radius else [1.0]:
            columns = [operator.h(n, rho * m, beta=0.0)]
            if operator.uses_beta:
                columns.append(operator.h(n, rho * m, beta=1.0) - columns[0])
            a = torch.stack(columns, 1)
            b = torch.linalg.lstsq(a, y[:, None], driver="gelsd").solution
            trials.append(float((a @ b - y[:, None]).square().sum()))
        left[name] = min(trials)
    names = [f"{name}-cos" for name in left]
    (first, *_) = dn.distil(model, BATCHES, candidates=names).layers
    total = float((y - y.mean()).square().sum())
    explained = {match.pair[0]: match.h for match in first.matches}
    for name, value in left.items():
        assert explained[name] == pytest.approx(1 - value / total, abs=0.01), name
    best = max(left, key=lambda name: -left[name])
    assert first.matches[0].pair[0] in {best} | {
        k for k, v in left.items() if (v - left[best]) / total < 0.005
    }


def patch_norms(x):
    patches = x.unfold(2, 3, 1).unfold(3, 3, 1)
    return (patches.square().sum((1, 4, 5)) + 1e-4).sqrt().flatten()


def test_a_candidate_with_fewer_constants_goes_first():
    """A straight spline is linear, not seg with β = 1, nor a ball whose radius is far out."""
    model = network()
    with torch.no_grad():
        for layer in (model[0], model[3]):
            layer.h_parameters.fill_(0.9)
    report = dn.distil(model, BATCHES)
    assert report.operator == "linear-cos"
    assert report.layers[0].constants == {}
    with torch.no_grad():
        for layer in (model[0], model[3]):
            layer.h_parameters.zero_()[:, 0] = 5.0  # constant from 0.2 on: that has no variance to explain
    assert dn.distil(model, [X + 1]).layers[0].operator == "sphere-cos"


@pytest.mark.parametrize(("power", "angle"), [(1.0, "cos"), (2.0, "sqcos")])
def test_the_angle(power, angle):
    model = network("power")
    with torch.no_grad():
        for layer in (model[0], model[3]):
            layer.g_parameters.fill_(power)
    for layer in dn.distil(model, BATCHES).layers:
        assert layer.matches[0].pair[1] == angle
        assert layer.g.explained > 0.999
        assert layer.g.scale == pytest.approx(
            math.sqrt(27 if layer.name == "0" else 36) ** (power - 1), rel=0.02
        )


def test_angles_that_are_the_same_here_are_said_to_be():
    """At small cosines linear and sigmoid are the cosine; at large ones they are others."""
    model = network("tanh-power")
    small, large = torch.linspace(-0.2, 0.2, 101).double(), torch.linspace(-1, 1, 101).double()
    with torch.no_grad():
        model[0].weight -= model[0].weight.mean((1, 2, 3), keepdim=True)  # far from parallel to images
    report = dn.distil(model, [torch.rand(8, 3, 9, 9) * 0.1 + 1.0])
    layer = report.layers[0]
    assert layer.operator == "tanh-cos"
    assert {"linear", "sigmoid"} <= set(layer.alike)  # and perhaps some that other tests have registered
    assert "sqcos" not in layer.alike
    said = f"{' and '.join(layer.alike)} are cos times a number at the cosines of "
    assert said in str(report)
    for cosines, same in ((small, True), (large, False)):
        wanted = Wanted(cosines, torch.full_like(cosines, 1 / 101))
        assert (fit_angle("linear", cosines, wanted).error < 0.01) == same


def test_the_sharpness_is_found():
    cosines = torch.linspace(-0.9, 0.9, 91).double()
    operator = dn.Operator("tanh", "sigmoid", k=0.21)
    wanted = Wanted(1.3 * operator.g(cosines), torch.full_like(cosines, 1 / 91))
    found = fit_angle("sigmoid", cosines, wanted)
    assert (found.k, found.scale) == (pytest.approx(0.21, rel=1e-3), pytest.approx(1.3, rel=1e-3))


@pytest.mark.parametrize(("name", "constants"), [("ball", {}), ("tanh", {}), ("mix", {"beta": 3.0})])
def test_constants_of_magnitudes_are_found(name, constants):
    norms = torch.linspace(0.2, 9, 120).double()
    operator = dn.Operator(name, alpha=1.0, **constants)
    wanted = Wanted(0.6 * operator.h(norms, 2.4), torch.full_like(norms, 1 / 120))
    found = fit_magnitude(name, norms, 3.0, wanted)
    assert found.explained > 1 - 1e-9
    assert found.scale == pytest.approx(0.6, rel=1e-3)
    if operator.uses_radius:
        assert found.radius == pytest.approx(0.8, rel=1e-3)
    if constants:
        assert found.beta == pytest.approx(3.0, rel=1e-3)


def test_r_squared_is_about_the_mean():
    norms = torch.tensor([1.0, 2.0, 3.0]).double()
    weights = torch.tensor([0.5, 0.25, 0.25]).double()
    values = 10 + norms
    found = fit_magnitude("sphere", norms, 1.0, Wanted(values, weights))
    assert found.explained == pytest.approx(0.0, abs=1e-9)  # a constant is all of the size, none of the shape
    line = fit_magnitude("linear", norms, 1.0, Wanted(values, weights))
    c = float((weights * values * norms).sum() / (weights * norms**2).sum())
    mean = float((weights * values).sum())
    left = float((weights * (values - c * norms) ** 2).sum())
    assert line.explained == pytest.approx(1 - left / float((weights * (values - mean) ** 2).sum()))
