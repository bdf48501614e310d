"""What distil says: of halves, groups, layers that are not reached, and of what it cannot do."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from known import BATCHES, X, network, seg, slopes
from torch import nn

import decoupled_nets as dn
from decoupled_nets.distillation.matches import Match


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
    nearly = dn.Distillation((of(first, tanh=1.0, ball=0.99999), of(second, log=1.0, ball=0.99999)))
    assert "explains at least 99.9 % of h and 99.9 % of g" in nearly.summary


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
        (lambda: dn.fuse(network()), {}, r"a fused network received.*call distil\(\) before fuse\(\)"),
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
    assert f"{said}\n" in str(dn.distil(model[:2], [2 * X]))


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
