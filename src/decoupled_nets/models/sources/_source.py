"""What a library that has networks by name has to say of them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class UnfitError(ValueError):
    """A library's network or weights that this package does not take, in its own words."""


@dataclass(frozen=True)
class Weights:
    """Weights, wherever they are from.

    Attributes:
        label: What they are, for messages.
        state: Tensors by name.
        mean: Of each channel of the pixels in [0, 1] that they were trained on; None: it is not known.
        std: The deviations likewise.
        part: Beginning of the names of the parameters that they are for; "" for all.
        operator: What the network had in its convolutions, where that is known.
        options: What else is known of how the network was built that no tensor shows.
    """

    label: str
    state: Mapping[str, Tensor]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    part: str = ""
    operator: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """A hash of all tensors with their names, types and shapes, in hexadecimal."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.state.items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            found.update(plain.view(torch.uint8).numpy().tobytes())
        return found.hexdigest()


class Source(ABC):
    """A library's networks.

    Attributes:
        name: What stands before the colon: ``timm`` in ``timm:resnet18``.
        form: How its networks are named, for messages.
        remembers: Whether its networks know themselves how they were built.
    """

    name: ClassVar[str]
    form: ClassVar[str]
    remembers: ClassVar[bool] = False

    @abstractmethod
    def check(self, model: str, dense: bool) -> None:
        """Refuse a name that is none.

        Args:
            model: what stands after the colon.
            dense: whether every pixel is to get its classes, rather than the image.

        Raises:
            ValueError: there is no such network, or it gives something else.
        """

    def check_boxes(self, model: str) -> None:
        """Refuse a name that is none of a detector.

        Raises:
            ValueError: there is no such network, or it finds no boxes.
        """
        raise ValueError(f"model {self.name}:{model} received for detection; needed: torchvision:NAME")

    def check_start(self, model: str, pretrained: bool, weights: bool) -> None:
        """Refuse a name that says something of weights where the network has none to start from.

        Args:
            model: what stands after the colon.
            pretrained: whether it starts from the library's own.
            weights: whether it starts from those of a file.

        Raises:
            ValueError: it does.
        """
        return

    def plain(self, model: str) -> str:
        """The name without what may stand behind it: what a recipe says."""
        return model

    @abstractmethod
    def arguments(self, model: str, classes: int, in_chans: int) -> dict[str, Any]:
        """The options of :meth:`build` for so many classes; one that takes colour only is built for that."""

    def fitted(self, model: str, arguments: dict[str, Any], weights: Weights) -> dict[str, Any]:
        """The options for a network that starts from these weights."""
        return arguments

    def placed(self, model: str, weights: Weights) -> Weights:
        """The weights by the names that the network has for them."""
        return weights

    def seen(self, network: nn.Module, arguments: dict[str, Any]) -> dict[str, Any]:
        """The options of a network, with those that its modules show and its origin does not say."""
        return arguments

    @abstractmethod
    def channels(self, arguments: Mapping[str, Any]) -> int:
        """How many channels the network takes that these options build."""

    @abstractmethod
    def build(self, model: str, arguments: dict[str, Any]) -> nn.Module:
        """The network with new weights, drawn from torch's generator; nothing is fetched.

        Raises:
            ValueError: there is no such network.
        """

    @abstractmethod
    def pretrained(self, model: str) -> Weights:
        """The library's own weights; its own words where it has none or cannot get them.

        Raises:
            UnfitError: they cannot be used, wherever they are.
        """

    def has_weights(self, model: str) -> bool:
        """Whether the library has weights of this network at all."""
        return True
