"""What distil finds where the answer is known, and what an exchange leaves as it was."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn

import decoupled_nets as dn
from decoupled_nets.distillation import density as density_room
from decoupled_nets.distillation.density import TURN, watched
from decoupled_nets.distillation.fits import Wanted, fit_angle, fit_magnitude
from decoupled_nets.distillation.matches import Match
from decoupled_nets.ops.decoupled.learned import PIECES, WIDTH

GENERATOR = torch.Generator().manual_seed(3)
#: Images of very different contrast, so that norms reach far on both sides of their mean.
BATCHES = [
    torch.rand(16, 3, 9, 9, generator=GENERATOR) * torch.randn(16, 1, 1, 1, generator=GENERATOR).exp()
    for _ in range(4)
]
X = torch.cat(BATCHES)


def slopes(h) -> torch.Tensor:
    """Those of the spline that has the values of h at its knots; beyond the last it goes on."""
    at = torch.arange(PIECES + 1, dtype=torch.float64) * WIDTH
    return h(at).diff() / WIDTH


def seg(rho: float, beta: float, alpha: float = 1.0):
    return lambda u: alpha * torch.where(u < rho, u, beta * u + (1 - beta) * rho)


def network(operator="spline-cos", **options) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        dn.DecoupledConv2d(3, 8, 3, operator=operator, **options),
        nn.BatchNorm2d(8, momentum=0.5),
        nn.ReLU(),
        dn.DecoupledConv2d(8, 8, 3, bias=False, groups=2, operator=operator, **options),
        nn.BatchNorm2d(8, momentum=0.5),
        nn.Flatten(),
        nn.Linear(8 * 25, 5),
    )
    with torch.no_grad():
        for _ in range(40):  # averages of norms and BatchNorms that belong to the data
            model.train()(X)
    return model.eval()


def as_seg(model, rho: float, beta: float, alpha: float = 1.7) -> None:
    with torch.no_grad():
        for layer in (model[0], model[3]):
            layer.h_parameters.copy_(slopes(seg(rho, beta, alpha))[None])


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


@pytest.mark.parametrize("weighting", [None, "product"])
@pytest.mark.parametrize("groups", [1, 3])
def test_densities_are_those_of_the_data(weighting, groups):
    torch.manual_seed(1)
    layer = dn.DecoupledConv2d(6, 6, 3, groups=groups, operator="power", weighting=weighting).eval()
    x = [torch.rand(3, 6, 8, 8), 0.2 * torch.randn(2, 6, 8, 8)]
    with watched([layer]) as found, torch.no_grad():
        for one in x:
            layer(one)
    (density,) = found.values()
    sizes, turns, norms = [], [], []
    for one in x:
        per = 6 // groups
        patches = one.unfold(2, 3, 1).unfold(3, 3, 1).movedim(1, 3).flatten(0, 2).flatten(2)
        for o in range(6):
            g = o // (6 // groups)
            patch = patches[:, g * per : (g + 1) * per].flatten(1).double()
            w = layer.weight[o].detach().flatten().double()
            norm, size = (patch.square().sum(1) + 1e-4).sqrt(), (w.square().sum() + 1e-4).sqrt()
            turns.append(math.sqrt(len(w)) * (patch @ w) / norm / size)
            sizes.append(norm * size if weighting else norm)
            if o % (6 // groups) == 0:
                norms.append(norm)
    sizes, turns = torch.cat(sizes), torch.cat(turns)
    joint = density.joint(0)
    assert density.count == len(torch.cat(norms))
    assert density.mean_norm == pytest.approx(float(torch.cat(norms).mean()), rel=1e-5)
    edges = [density.size_edges, density.turn_edges]
    expected, _ = torch.histogramdd(torch.stack([sizes, turns], 1), bins=edges)
    assert float((joint - expected / len(sizes)).abs().sum()) < 0.002  # float32 beside float64 at edges
    assert float((density.turns @ joint.sum(0)) - turns.mean()) == pytest.approx(0, abs=TURN)


def test_densities_do_not_depend_on_batches_and_keep_no_value():
    layer = dn.DecoupledConv2d(3, 4, 3, operator="power").eval()
    found = []
    for parts in (X.split(16), X.split(64)):
        with watched([layer]) as seen, torch.no_grad():
            for one in parts:
                layer(one)
        found.append(seen[layer])
    assert found[0].count == found[1].count
    torch.testing.assert_close(found[0].joint(0), found[1].joint(0), atol=1e-4, rtol=0)
    shape = found[0].counts.shape
    with watched([layer]) as seen, torch.no_grad():
        for _ in range(3):
            layer(X)
    assert (seen[layer].count, seen[layer].counts.shape) == (3 * found[0].count, shape)


def test_of_many_patches_some_are_counted_with_every_channel(monkeypatch):
    layer = dn.DecoupledConv2d(3, 4, 3, operator="power").eval()
    found = []
    for most in (2**22, 4 * len(X) * 49 // 5 + 1):
        monkeypatch.setattr(density_room, "MOST", most)
        with watched([layer]) as seen, torch.no_grad():
            layer(X)
        found.append(seen[layer])
    every, some = found
    assert int(some.counts.sum()) == pytest.approx(int(every.counts.sum()) / 5, rel=0.01)
    assert (some.count, some.mean_norm) == (every.count, every.mean_norm)
    for axis in (0, 1):
        shares = [one.joint(0).sum(axis) for one in found]
        low = max(one.first for one in found)
        if axis == 1:
            shares = [one[low - f.first :] for one, f in zip(shares, found, strict=True)]
            shares = [one[: min(map(len, shares))] for one in shares]
        assert float((shares[0] - shares[1]).abs().sum()) < 0.25


def test_a_linear_layer_and_a_conv_of_one_dimension():
    torch.manual_seed(0)
    for layer, x in (
        (dn.DecoupledLinear(12, 6, operator="spline-spline"), torch.rand(40, 12)),
        (dn.DecoupledConv1d(3, 6, 3, operator="spline-spline"), torch.rand(8, 3, 20)),
    ):
        (one,) = dn.distil(layer.train(), [x]).layers
        assert one.operator == "tanh-cos"
        assert one.label == "the network itself"
        assert one.h.explained > 0.99
        assert layer.training


@pytest.mark.parametrize("radius", ["relative", 3.0])
@pytest.mark.parametrize("weighting", [None, "linear", "product"])
def test_an_exchange_that_is_exact_changes_no_output(radius, weighting):
    model = network(radius=radius, weighting=weighting)
    as_seg(model, 0.8, 0.31)
    with torch.no_grad():
        before = model(X)
        report = dn.distil(model, BATCHES, candidates=["seg-cos"], exchange=True)
        assert report.exchanged
        assert all(str(model[i].operator) == "seg-cos" and model[i].h_parameters is None for i in (0, 3))
        assert isinstance(model[0].radius, float) == (radius != "relative")
        torch.testing.assert_close(model(X), before, atol=1e-4, rtol=1e-4)
    assert report.distance.error < 1e-4
    assert report.distance.agreement == 1.0
    assert "exchanged everywhere" in str(report)


def test_separate_weights_keep_beta():
    model = network(weighting="separate")
    as_seg(model, 1.0, 0.31, alpha=1.0)
    with torch.no_grad():
        before = model(X)
        dn.distil(model, BATCHES, exchange=True)
        assert model[0].operator.alpha == 1.0
        assert model[0].operator.beta == pytest.approx(0.31, rel=0.01)
        spread = before.std()
        assert float((model(X) - before).square().mean().sqrt() / spread) < 0.05


def test_an_exchange_keeps_spread_and_mean_of_every_channel():
    """sphere is far from a spline that began as linear; the channels' moments stay all the same."""
    model = network("spline-spline")
    with torch.no_grad():
        model[0].h_parameters.copy_(slopes(seg(0.6, 0.1))[None])
        wanted = model[0](X)
        report = dn.distil(model, BATCHES, candidates=["sphere-cos"], exchange=True)
        given = model[0](X)
    assert report.layers[0].h.explained < 0.1
    dims = (0, 2, 3)
    torch.testing.assert_close(given.std(dims), wanted.std(dims), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(given.mean(dims), wanted.mean(dims), rtol=1e-3, atol=1e-4)


def test_averages_and_learned_sharpnesses_stay_in_an_exchange():
    model = network(dn.Operator("spline", "sigmoid", k="learned"))
    with torch.no_grad():
        model[0].kappa.uniform_(0.3, 0.9)
    kappa, average = model[0].kappa.clone(), model[0].mean_norm.clone()
    dn.distil(model, BATCHES, exchange=True)
    assert model[0].operator.k == "learned"
    assert torch.equal(model[0].kappa, kappa)
    assert torch.equal(model[0].mean_norm, average)
    assert int(model[0].num_updates) == 40


def test_undo_gives_every_bit_back():
    model = network("spline-spline")
    with torch.no_grad():
        for layer in (model[0], model[3]):
            layer.h_parameters.add_(0.1 * torch.randn(layer.h_parameters.shape))
        before, state = model(X), copy.deepcopy(model.state_dict())
        parameters = dict(model.named_parameters())
        report = dn.distil(model, BATCHES, exchange=True)
        assert not torch.equal(model(X), before)
        report.undo()
        assert torch.equal(model(X), before)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(value is parameters[name] for name, value in model.named_parameters())
    with pytest.raises(ValueError, match="needed: distil"):
        dn.distil(model, BATCHES).undo()


def test_reading_changes_nothing():
    model = network("spline-spline").train()
    state = copy.deepcopy(model.state_dict())
    dn.distil(model, BATCHES)
    assert model.training
    assert model[1].training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_an_exchange_that_fails_leaves_the_model(monkeypatch):
    model = network()
    state = copy.deepcopy(model.state_dict())
    calls = itertools.count()

    def forward(net, batch):
        if next(calls) == 5:
            raise RuntimeError("of the user's code")
        return net(batch)

    with pytest.raises(RuntimeError, match="of the user's code"):
        dn.distil(model, BATCHES, forward=forward, exchange=True)
    assert str(model[0].operator) == "spline-cos"
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_exchanged_network_trains_and_a_frozen_one_stays_frozen():
    model = network("power")
    dn.distil(model, BATCHES, candidates=["tanh-cos"], exchange=True)
    model.train()(X).sum().backward()
    assert model[0].radius.grad is not None
    frozen = network("power").requires_grad_(False)
    dn.distil(frozen, BATCHES, candidates=["tanh-cos"], exchange=True)
    assert not any(p.requires_grad for p in frozen.parameters())


def test_an_exchanged_network_is_saved_and_loaded(tmp_path):
    torch.manual_seed(0)
    model = dn.create_model("cifar_vgg11", num_classes=4, operator="spline-spline", width=0.125).eval()
    x = torch.rand(8, 3, 32, 32)
    report = dn.distil(model, [x], candidates=["seg-cos", "sphere-cos"], exchange=True)
    dn.save_pretrained(model, tmp_path)
    loaded = dn.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    operators = [m.operator for m in loaded.modules() if hasattr(m, "operator")]
    assert [str(one) for one in operators] == [layer.operator for layer in report.layers]
    assert len({one.beta for one in operators}) > 1  # each layer has its own constants


def test_a_half_that_is_not_learned_stays():
    model = network("tanh-power")
    with torch.no_grad():
        for layer in (model[0], model[3]):
            layer.radius.uniform_(0.8, 1.3)
        radii = model[0].radius.clone()
        before = model(X)
        report = dn.distil(model, BATCHES, exchange=True)
        assert report.operator == "tanh-cos"
        assert report.layers[0].h is None
        assert torch.equal(model[0].radius, radii)
        torch.testing.assert_close(model(X), before, atol=2e-3, rtol=2e-3)
    assert "of h" not in report.layers[0].sentence
    with pytest.raises(ValueError, match=r"without 'cos' received; needed: one with it.*'0' \(spline-cos\)"):
        dn.distil(network(), BATCHES, candidates=["tanh-sqcos"])


def test_groups_of_channels_have_a_row_each_and_are_not_exchanged():
    model = network(dn.Operator("spline", "cos", channel_groups=2))
    with torch.no_grad():
        model[0].h_parameters[1] = slopes(seg(1.0, 0.31))
    report = dn.distil(model, BATCHES)
    assert [layer.label for layer in report.layers] == [
        "0, group 0",
        "0, group 1",
        "3, group 0",
        "3, group 1",
    ]
    assert [layer.operator for layer in report.layers[:2]] == ["tanh-cos", "seg-cos"]
    with pytest.raises(ValueError, match=r"2 groups of channels received .'0'.*exchange=False reads them"):
        dn.distil(model, BATCHES, exchange=True)


def test_one_operator_for_all_or_the_nearest_to_all_together():
    model = network()
    assert "Every layer is nearest to tanh-cos; to train with it: --operator tanh-cos." in str(
        dn.distil(model, BATCHES)
    )
    with torch.no_grad():
        model[0].h_parameters.copy_(slopes(seg(1.0, 0.31))[None])
    report = dn.distil(model, BATCHES, candidates=["tanh-cos", "seg-cos", "sphere-cos"])
    assert [layer.operator for layer in report.layers] == ["seg-cos", "tanh-cos"]
    assert report.operator is None
    assert f"Nearest to all together is {report.overall}" in report.summary
    assert report.overall != "sphere-cos"
    assert ("β = 0.5" in report.summary) == (report.overall == "seg-cos")


def test_the_nearest_to_all_is_a_candidate_of_all():
    """An angle that stands for no other in a layer is none of its candidates."""
    first, second = dn.distil(network(), BATCHES, candidates=["ball-cos", "tanh-cos"]).layers

    def of(layer, **explained):
        matches = [Match((name, "cos"), value, value, 1) for name, value in explained.items()]
        return dataclasses.replace(layer, matches=tuple(matches))

    layers = of(first, tanh=0.6, ball=0.5, seg=0.2), of(second, log=1.0, ball=0.4, tanh=0.2, seg=0.2)
    report = dn.Distillation(layers)
    assert report.operator is None
    assert report.overall == "ball-cos"
    assert "explains at least 40.0 % of h and 40.0 % of g" in report.summary


def test_curves_end_where_cosines_do():
    (layer,) = dn.distil(dn.DecoupledLinear(2, 64, operator="power"), [torch.randn(64, 2)]).layers
    assert float(layer.g_curve.at.max()) == pytest.approx(2**0.5)


def test_a_registered_magnitude_is_a_candidate():
    dn.register_magnitude("root", lambda norm, radius, alpha, beta: alpha * (norm / radius).sqrt())
    try:
        model = network("power")
        with torch.no_grad():
            for layer in (model[0], model[3]):
                layer.h_parameters.fill_(0.5)
            before = model(X)
            report = dn.distil(model, BATCHES, candidates=["root-cos", "linear-cos"], exchange=True)
            assert report.operator == "root-cos"
            torch.testing.assert_close(model(X), before, atol=1e-3, rtol=1e-3)
    finally:
        dn.unregister_magnitude("root")


def test_layers_that_are_not_reached_are_named_and_left():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.used = dn.DecoupledConv2d(3, 4, 3, operator="power")
            self.unused = dn.DecoupledConv2d(3, 4, 3, operator="power")

        def forward(self, x):
            return self.used(x).mean((2, 3))

    model = Two()
    report = dn.distil(model, BATCHES, exchange=True)
    assert report.unused == ("unused",)
    assert "reached by no batch, and left: unused" in str(report)
    assert str(model.unused.operator) == "power"
    assert str(model.used.operator) != "power"


@pytest.mark.parametrize(
    ("make", "options", "text"),
    [
        (
            lambda: nn.Conv2d(3, 4, 3),
            {},
            "a network of plain layers received, which learns no operator; needed",
        ),
        (lambda: network("seg-sqcos"), {}, "a network of seg-sqcos received"),
        (network, {"candidates": ["tanh-power"]}, "candidate 'tanh-power' received; needed: one that learns"),
        (network, {"candidates": []}, "needed: at least one operator"),
        (network, {"candidates": "tanh-cos"}, "needed: a list of operators"),
        (network, {"candidates": ["tnah-cos"]}, "did you mean 'tanh'"),
        (network, {"max_batches": 0}, "max_batches = 0 received"),
    ],
)
def test_errors(make, options, text):
    with pytest.raises(ValueError, match=text):
        dn.distil(make(), BATCHES, **options)


def test_patches_of_another_size_than_in_training_are_told():
    model = network()
    assert "as large as in training" not in str(dn.distil(model, BATCHES))
    said = "patches are 2 times as large as in training in 0: are these batches made as then?"
    assert said in str(dn.distil(model[:2], [2 * X]))


def test_infinite_inputs_are_refused():
    with pytest.raises(ValueError, match="infinities or NaN received"):
        dn.distil(network(), [torch.full((1, 3, 9, 9), math.nan)])


def test_forward_and_max_batches():
    seen = []

    def forward(model, batch):
        seen.append(batch["x"])
        return model(batch["x"])

    report = dn.distil(network(), [{"x": x} for x in BATCHES], forward=forward, max_batches=3)
    assert len(seen) == 3
    assert report.layers[0].patches == 3 * 16 * 7 * 7


def test_plain_values():
    import json

    report = dn.distil(network(), BATCHES, exchange=True)
    found = json.loads(json.dumps(report.to_dict()))
    first = found["layers"][0]
    assert first["h"]["radius"] == report.layers[0].h.radius
    assert first["candidates"][0]["operator"] == first["operator"] == report.layers[0].operator
    assert found["error"] == report.distance.error
    curve = report.layers[0].h_curve
    assert float((curve.density * curve.edges.diff()).sum()) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(torch.tensor(first["h_curve"]["learned"], dtype=torch.float64), curve.learned)


def test_the_table_leaves_out_what_says_nothing():
    model = nn.Sequential(
        dn.DecoupledConv2d(3, 4, 3, operator="spline-cos"), dn.DecoupledConv2d(4, 4, 3, operator="spline-cos")
    )
    report = dn.distil(model, BATCHES, candidates=["tanh-cos"])
    assert str(report).startswith(
        "Learned operators (spline-cos), and the nearest named ones\nlayer  nearest "
    )
    assert report.rows[0] == ["layer", "nearest", "ρ/m", "α", "R² of h", "R² of h·g"]
    assert report.rows[1][:3] == ["0", "tanh-cos", f"{report.layers[0].constants['ρ']:.3g}"]
    model[1] = dn.DecoupledConv2d(4, 4, 3, operator="power")
    assert dn.distil(model, BATCHES).rows[0][:3] == ["layer", "was", "nearest"]
