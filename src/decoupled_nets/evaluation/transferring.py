"""Images made on one network, tried on all: what exposes an attack that fails on its own network only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .._progress import Progress
from ..robustness import Threat, Victim, attack_named

STEPS = 100
#: The source that is the mean of all networks but the target.
OTHERS = "all others"
#: Between a source and the attack that made the images, where it is another than PGD.
_BY = " by "


@dataclass
class Transfer:
    """What images made on one network leave of another.

    Attributes:
        names: Of the networks.
        images: How many there are.
        clean: Right without an attack, by target.
        left: Right under images made on a source, ``left[source][target]``; the same network is white box.
    """

    names: list[str]
    images: int
    clean: dict[str, int]
    left: dict[str, dict[str, int]] = field(default_factory=dict)

    @staticmethod
    def own(source: str, target: str) -> bool:
        """Whether images of that source were made on the target itself."""
        return source == target or source.startswith(f"{target}{_BY}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def transfer(
    networks: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    also: Sequence[str] = (),
    seed: int = 0,
    batch_size: int = 128,
    quiet: bool = True,
) -> Transfer:
    """Make images on each network, and on the mean of all but one, by PGD that does not stop at success.

    Args:
        networks: by name, in evaluation mode.
        images: (B, C, H, W), pixels in [0, 1].
        labels: (B,).
        threat: norm and radius.
        also: names of further attacks that make images on each network.
        seed: of the random starts.
        batch_size: images that a network sees at once.
        quiet: draw no progress.

    Raises:
        ValueError: there are less than two networks.
    """
    if len(networks) < 2:
        raise ValueError(f"{len(networks)} network received for transfer; needed: at least 2")
    victims = {name: Victim(network, batch_size=batch_size) for name, network in networks.items()}
    clean = {name: victim.predict(images) == labels for name, victim in victims.items()}
    found = Transfer(list(networks), len(images), {name: int(right.sum()) for name, right in clean.items()})
    several = len(networks) > 2
    with Progress(len(networks) * (1 + several), "transfer", quiet=quiet) as progress:
        for source, victim in victims.items():
            progress.describe(f"images made on {source}")
            for name in ("", *also):
                made = _made(victim, images, labels, threat, seed, name)
                found.left[f"{source}{_BY}{attack_named(name).title}" if name else source] = {
                    target: int((clean[target] & (other.predict(made) == labels)).sum())
                    for target, other in victims.items()
                }
            progress.advance()
        if several:
            found.left[OTHERS] = {}
            for target, victim in victims.items():
                progress.describe(f"images made on all but {target}")
                mean = Mean([other.model for name, other in victims.items() if name != target]).eval()
                made = _made(Victim(mean, batch_size=batch_size), images, labels, threat, seed)
                found.left[OTHERS][target] = int((clean[target] & (victim.predict(made) == labels)).sum())
                progress.advance()
    return found


class Mean(nn.Module):
    """The mean of the log-probabilities of several networks."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K)."""
        return torch.stack([network(images).float().log_softmax(1) for network in self.networks]).mean(0)


def _made(
    victim: Victim, images: Tensor, labels: Tensor, threat: Threat, seed: int, name: str = ""
) -> Tensor:
    """Images by PGD that goes on after success, or by the attack of that name."""
    options: dict[str, Any] = {}
    if not name:
        options = {"loss": "margin", "steps": STEPS, "step": 0.25, "falling": True, "stop": False}
    known, parts = attack_named(name or "pgd"), []
    for some, truth in zip(images.split(victim.batch_size), labels.split(victim.batch_size), strict=True):
        parts.append(known(victim, some, truth, threat, seed=seed, **options).images)
    return torch.cat(parts)
