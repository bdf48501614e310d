"""The four layers with their plain twins, and the settings the tests sweep over."""

from __future__ import annotations

import torch
from torch import nn

import decoupled_nets as dn

#: name: (decoupled, plain, positional arguments, shape of one sample)
LAYERS = {
    "conv1d": (dn.DecoupledConv1d, nn.Conv1d, (4, 6, 3), (4, 9)),
    "conv2d": (dn.DecoupledConv2d, nn.Conv2d, (4, 6, 3), (4, 7, 6)),
    "conv3d": (dn.DecoupledConv3d, nn.Conv3d, (4, 6, 2), (4, 3, 4, 3)),
    "linear": (dn.DecoupledLinear, nn.Linear, (4, 6), (4,)),
}
RADII = ["relative", "learned", 1.5, dn.RelativeRadius(zero_start=True)]


def make(name: str, **options) -> nn.Module:
    decoupled, _, arguments, _ = LAYERS[name]
    return decoupled(*arguments, **options)


def plain(name: str, **options) -> nn.Module:
    _, twin, arguments, _ = LAYERS[name]
    return twin(*arguments, **options)


def sample(name: str, *batch: int, **options) -> torch.Tensor:
    return torch.randn(*batch, *LAYERS[name][3], **options)
