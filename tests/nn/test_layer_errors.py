"""Decoupled layers: what is refused, and what is ignored with a warning."""

from __future__ import annotations

import warnings

import pytest
import torch
from layer_cases import LAYERS, make, plain, sample

import decoupled_nets as dn
from decoupled_nets.ops.decoupled.magnitude import magnitudes


@pytest.mark.parametrize("name", LAYERS)
def test_repr_names_what_differs(name):
    text = repr(make(name, operator="seg-sqcos", radius=2.0, weighting="linear"))
    twin = repr(plain(name))
    assert text.startswith(f"Decoupled{twin[:-1]}")
    assert text.endswith("operator='seg-sqcos', radius=2.0, weighting='linear')")
    assert "radius='learned'" in repr(make(name, radius="learned"))
    assert "radius=RelativeRadius(decay=0.999, zero_start=False, sync='auto')" in repr(make(name))
    assert "weighting" not in repr(make(name))


@pytest.mark.parametrize("magnitude", [name for name in magnitudes if not magnitudes[name].uses_radius])
def test_magnitude_without_a_radius(magnitude):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = make("conv2d", operator=f"{magnitude}-cos")
    assert layer.radius is None
    assert set(layer.state_dict()) == {"weight", "bias"}
    assert layer(sample("conv2d", 1)).isfinite().all()


@pytest.mark.parametrize("radius", ["learned", 2.0, dn.RelativeRadius(zero_start=True)], ids=str)
def test_radius_that_is_ignored_warns_at_the_callers_line(radius):
    with pytest.warns(UserWarning, match="is ignored: the magnitude 'sphere' has none") as caught:
        dn.DecoupledConv2d(4, 6, 3, operator="sphere-cos", radius=radius)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_learned_radius_and_kappa_start_as_documented():
    layer = make("conv2d", radius="learned", operator=dn.Operator("tanh", "sigmoid", k="learned"))
    assert torch.equal(layer.radius, torch.ones(6))
    assert torch.equal(layer.kappa, torch.full((6,), 0.7))
    assert set(dict(layer.named_parameters())) == {"weight", "bias", "radius", "kappa"}
    assert not list(layer.buffers())


@pytest.mark.parametrize("angle", ["cos", "linear", "sqcos"])
def test_no_kappa_where_the_angle_has_no_sharpness(angle):
    with pytest.warns(UserWarning, match="k = 'learned' is ignored"):
        layer = make("conv2d", operator=dn.Operator("tanh", angle, k="learned"))
    assert layer.kappa is None
    layer(sample("conv2d", 1))


def test_kappa_reaches_a_registered_angle():
    layer = make("conv2d", operator=dn.Operator("tanh", "test_cubic", k="learned"))
    layer(sample("conv2d", 2)).square().sum().backward()
    assert layer.kappa.grad.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": "auto"}, "radius = 'auto' received; needed: a positive number, 'learned', 'relative'"),
        ({"radius": 0}, "radius = 0 received; needed: a positive number"),
        ({"radius": -1.0}, r"radius = -1\.0 received"),
        ({"radius": float("inf")}, "radius = inf received"),
        ({"radius": float("nan")}, "radius = nan received"),
        ({"radius": True}, "radius = True received"),
        ({"radius": None}, "radius = None received"),
        (
            {"weighting": "quadratic"},
            r"weighting = 'quadratic' received; needed: None or one of \('linear', 'product'",
        ),
        ({"eps": 0}, "eps = 0 received; needed: a positive number"),
        ({"eps": float("nan")}, "eps = nan received"),
        ({"operator": "tanh"}, "operator 'tanh' received; needed: '<magnitude>-<angle>'"),
        ({"operator": "tanh-cosine"}, r"unknown angle 'cosine'"),
    ],
)
@pytest.mark.parametrize("name", ["conv2d", "linear"])
def test_refusals(name, options, message):
    with pytest.raises(ValueError, match=message):
        make(name, **options)


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_decay_out_of_range(decay):
    with pytest.raises(ValueError, match=rf"decay = {decay} received; needed: a number in \[0, 1\)"):
        dn.RelativeRadius(decay=decay)


def test_operator_of_another_type():
    with pytest.raises(TypeError, match="operator: int received"):
        make("conv2d", operator=3)


@pytest.mark.parametrize("name", LAYERS)
def test_shapes_that_do_not_fit(name):
    x = sample(name, 2)
    with pytest.raises(ValueError, match=r"input of shape .* received"):
        make(name)(torch.cat([x, x], dim=1))
    with pytest.raises(TypeError, match=r"input of type torch\.int64 received"):
        make(name)(x.long())


def test_kernel_larger_than_the_input():
    with pytest.raises(
        ValueError, match=r"padded input of size \(2, 2\) received; needed: at least \(3, 3\)"
    ):
        make("conv2d")(torch.randn(1, 4, 2, 2))
