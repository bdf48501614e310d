"""What calibration leaves as it was, whatever mode a network is in and whatever hangs on its layers."""

from __future__ import annotations

import copy

import pytest
import torch
from calibration_cases import BATCHES, X, error, network
from torch import nn
from torch.nn.utils import parametrizations

import decoupled_nets as dn


def test_a_network_in_training_mode_moves_no_average():
    model = network()
    parametrizations.spectral_norm(model[3])
    dn.convert(model)
    model.train()
    vector = model[3].parametrizations.weight[0]._u.clone()
    dn.calibrate(model, BATCHES)
    assert model.training
    assert [int(model[i].num_updates) for i in (0, 3, 6)] == [1000] * 3
    assert torch.equal(model[3].parametrizations.weight[0]._u, vector)


@pytest.mark.parametrize("fails_in", range(1, 5))
def test_wherever_it_is_stopped_it_leaves_the_network_as_it_was(fails_in):
    model = network()
    plain = copy.deepcopy(model)
    dn.convert(model)
    for _ in range(2):  # the second time it has been calibrated before
        state = copy.deepcopy(model.state_dict())
        runs = 0

        def forward(network, batch):
            nonlocal runs
            runs += 1
            middle = network[:4](batch)
            if runs == fails_in:  # the plain network, before, while it is set, after
                raise KeyboardInterrupt
            return network[4:](middle)

        with pytest.raises(KeyboardInterrupt):
            dn.calibrate(model, BATCHES[:1], forward=forward, reference=plain, reset_batch_norm=True)
        assert model.state_dict().keys() == state.keys()
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        dn.calibrate(model, BATCHES, reference=plain)


def test_layers_are_calibrated_before_the_hooks_on_them():
    plain = network()
    for layer in (plain[0], plain[3]):
        layer.register_forward_hook(lambda module, args, output: 2 * output + 1)
    model = copy.deepcopy(plain)
    dn.convert(model)
    report = dn.calibrate(model, BATCHES)
    assert report.after.error < 0.02
    assert error(model, plain) < 0.02
    assert [len(model[i]._forward_hooks) for i in (0, 3)] == [1, 1]


class ByName(nn.Module):
    """A network that calls its layers with keywords."""

    def __init__(self):
        super().__init__()
        self.layers = network()

    def forward(self, x):
        for layer in self.layers:
            x = layer(input=x)
        return x


def test_layers_that_are_called_by_keyword():
    plain = ByName().eval()
    model = copy.deepcopy(plain)
    dn.convert(model)
    dn.calibrate(model, BATCHES)
    assert error(model, plain) < 0.02


def test_a_network_calibrated_in_inference_mode_can_be_trained():
    model = network()
    dn.convert(model)
    with torch.inference_mode():
        dn.calibrate(model, BATCHES)
    model(X).sum().backward()
    assert float(model[0].weight.grad.abs().sum()) > 0


def test_a_compiled_part_compiles_nothing_for_it():
    compiled = []

    def backend(graph, example):
        compiled.append(graph)
        return graph.forward

    plain = network()
    model = copy.deepcopy(plain)
    dn.convert(model)
    model[3].compile(backend=backend)
    dn.calibrate(model, BATCHES)
    assert not compiled
    assert error(model, plain) < 0.02
    assert compiled


def test_a_network_without_weights_is_refused():
    model = network()
    dn.convert(model)
    with pytest.raises(ValueError, match="a network on the meta device received"):
        dn.calibrate(model.to("meta"), BATCHES)
    assert model[0].scale is None
