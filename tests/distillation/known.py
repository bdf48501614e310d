"""Networks whose learned operators are known, and their data."""

from __future__ import annotations

import torch
from torch import nn

import decoupled_nets as dn
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
