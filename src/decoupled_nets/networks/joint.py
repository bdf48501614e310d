"""The network for joint upsampling of depth maps, plain or converted."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..models import NetworkConfig
from ..models.joint import OWN as JOINT
from ..models.joint import UPSAMPLER, JointUpsampler
from .given import Given
from .names import check_joint
from .operators import load_and_convert


def build_joint(
    config: NetworkConfig,
    operator: str,
    in_chans: int,
    *,
    scale: int,
    offset: float,
    zeros: bool | None = None,
    given: Given | None = None,
    **options: Any,
) -> nn.Module:
    """A network for joint upsampling, plain or converted; nothing is fetched.

    Args:
        config: names the network and its upsampler.
        operator: of its convolutions, but for the last.
        in_chans: channels of image and map together.
        scale: by how much the map is smaller.
        offset: where its samples lie.
        zeros: whether 0 says that there is no depth; None: that is not known.
        given: weights to start from, and where it is noted what became of them.
        **options: of other networks; this one has none.

    Raises:
        ValueError: there is no such network, upsampler or operator, the weights do not fit, or an option is
            out of range.
    """
    if config.model != JOINT or options:
        found = f"{next(iter(options))} received" if options else f"model {config.model!r} received"
        raise ValueError(f"{found} for joint upsampling; needed: {JOINT}, with no more options than it has")
    check_joint(config)
    arguments: dict[str, Any] = {
        "scale": scale, "offset": offset, "upsample": config.upsample or UPSAMPLER, "in_chans": in_chans,
        "width": config.width, "relu": config.relu, "zeros": zeros,
    }  # fmt: skip
    network: Any = JointUpsampler(**arguments)
    network.recipe = {"model": JOINT, "arguments": arguments}
    load_and_convert(network, config, operator, given or Given())
    return network
