"""What an exchange changes, and what it leaves as it was."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from known import BATCHES, X, as_seg, network, seg, slopes

import decoupled_nets as dn


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


def test_plain_layers_are_not_given_learned_operators():
    model = network()
    report = dn.distil(model, BATCHES, exchange=True)
    dn.revert(model)
    keys = list(model.state_dict())
    with pytest.raises(ValueError, match=r"Conv2d received .*call undo\(\) before revert\(\)"):
        report.undo()
    assert list(model.state_dict()) == keys


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
