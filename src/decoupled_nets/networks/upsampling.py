"""The upsampler that is asked for, in place of a network's own upsampling."""

from __future__ import annotations

import torch
from torch import nn

from ..conversion import convert_upsampling
from ..models import NetworkConfig
from .given import Given
from .loading import match
from .plain import inside

#: Size of the image whose way through a network is noted: deep enough maps of it are still maps.
_EXAMPLE = (128, 128)


def put_upsampler(network: nn.Module, config: NetworkConfig, in_chans: int, given: Given) -> nn.Module:
    """The network with the configured upsampler in place of its own way, and the upsampler's weights.

    Raises:
        ValueError: it has no upsampling that could take it.
    """
    if config.upsample is None:
        return network
    inner = inside(network)
    before = set(inner.state_dict())
    report = convert_upsampling(network, torch.zeros(1, in_chans, *_EXAMPLE), config.upsample)
    if not report.converted:
        raise ValueError(f"{config.model} has no upsampling that takes {config.upsample!r}:\n{report}")
    given.upsampling = report
    if given.weights is not None and given.loaded is not None:
        new = set(inner.state_dict()) - before
        given.loaded = match(inner, given.weights, only=new).put_beside(inner, given.loaded)
    return network
