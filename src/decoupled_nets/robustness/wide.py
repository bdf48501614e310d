"""A network in float64, and the mean of a random one."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .victim import Victim


def in_float64(victim: Victim) -> Victim:
    """A copy that computes in float64; a network that fixes its types within may still compute in less."""
    model = copy.deepcopy(victim.model).double().eval()
    return Victim(model, batch_size=victim.batch_size, threads=victim.threads)


def wide_or_none(victim: Victim, images: Tensor) -> Victim | None:
    """:func:`in_float64`, or None of a network that cannot be copied or does not compute in float64.

    Args:
        victim: the network.
        images: (B, C, H, W), at least one, of which the first is tried.
    """
    try:
        wide = in_float64(victim)
        wide.logits(images[:1].double())
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        return None
    return wide


class Expected(nn.Module):
    """The mean of the logits over several passes, always with the same random numbers.

    A network whose outputs are random lets an attack miss what holds for the next pass only. The mean over
    passes is what an attack has to move (Athalye et al., 2018: expectation over transformation). The numbers
    come from torch's one generator: it must not run in two threads at once, and what an image gets depends on
    its place in the batch.

    Args:
        model: whose outputs are random.
        passes: over which the mean is taken.
    """

    def __init__(self, model: nn.Module, passes: int = 20) -> None:
        super().__init__()
        self.model, self.passes = model, passes

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K)."""
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)
            return torch.stack([self.model(images) for _ in range(self.passes)]).mean(0)

    @classmethod
    def victim(cls, victim: Victim) -> Victim:
        """Of a random network, in one thread."""
        return Victim(cls(victim.model).eval(), batch_size=victim.batch_size, threads=1)
