"""``convert_upsampling`` among our own layers, which compute with kernels whose insides have no gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pyramids import outcome
from torch import nn

import decoupled_nets as dn

X = torch.rand(2, 12, 16, 16)
LAYERS = {
    "conv": lambda: nn.Conv2d(12, 12, 3, padding=1),
    "decoupled": lambda: dn.DecoupledConv2d(12, 12, 3, padding=1),
    "learned": lambda: dn.DecoupledConv2d(12, 12, 3, padding=1, operator="spline-spline"),
    "dynamic": lambda: dn.DDF2d(12, 3),
}


class Network(nn.Module):
    """A deep map is enlarged to the size of a lateral one, which only guides; then comes a layer."""

    def __init__(self, layer):
        super().__init__()
        self.lateral, self.deep, self.head = layer(), nn.Conv2d(12, 12, 3, 2, 1), layer()

    def forward(self, input):
        size = self.lateral(input).shape[2:]
        return self.head(F.interpolate(self.deep(input), size=size))


def drawn(network):
    """Upsamplers that look at what guides them, as they do not at the start."""
    for parameter in network.upsamplers.parameters():
        nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_the_layers_output_guides_and_learns_by_it(name, training):
    network = Network(LAYERS[name])
    report = dn.convert_upsampling(network, X, "ddf")
    # Not "gives the outputs": the head has weights.
    assert outcome(report) == [("the network[0]", "DDF 2×, guided (12 channels)", None)]
    drawn(network)
    seen = []
    network.lateral.register_forward_hook(lambda module, args, out: seen.append(out))
    network.upsamplers[0].register_forward_hook(lambda module, args, out: seen.append(args[1]))
    network.train(training)(X).square().sum().backward()
    assert seen[0] is seen[1]
    assert all(p.grad.abs().max() > 0 for p in network.lateral.parameters() if p.dim() > 1)


@pytest.mark.parametrize(
    "name",
    ["decoupled", *(pytest.param(n, marks=pytest.mark.long) for n in LAYERS if n != "decoupled")],
)
def test_as_much_is_seen_when_compiled(name):
    network = Network(LAYERS[name]).eval()
    dn.convert_upsampling(network, X, "ddf")
    drawn(network)
    torch._dynamo.reset()
    got = torch.compile(network, fullgraph=True, backend="aot_eager")(X)
    torch.testing.assert_close(got, network(X), rtol=1e-4, atol=1e-5)
