"""What a task is: everything that training, comparison and report need to know of one.

B: batch, H, W: height and width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._metric import Metric
from ..data import DataConfig, Found, ImageData
from ..models.config import NetworkConfig
from ._examples import Examples

Reduction = Literal["mean", "sum"]


class Task(ABC):
    """One task, for some classes.

    What is kept of each test image are some whole numbers, of which the task's metric is made: mostly their
    sums over images are enough. A network's score, the scores of resampled sets of images, and the score over
    several processes all come from them.

    Attributes:
        name: What the option ``task`` calls it.
        about: What it is, for help texts and titles.
        metric: The number that it is judged by.
        model: Name of the network that it takes if none is named.
        sections: The sections of the report's page that only some tasks have.
        takes: Options of training that only some tasks take, of which this one does.
        margin: The difference that does not matter if none is given, in percentage points or the metric's
            unit.
        counts: How many numbers are kept of each image.
        adds: Whether sums over images of these numbers give the metric; if not, all of them are kept.
        half: Whether weights and outputs may be of half precision.
        share: Whether the metric is the share of images that count: an image has a 0 or a 1.
        classes: Names of the classes.

    Args:
        classes: Names of the classes.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    metric: ClassVar[Metric]
    model: ClassVar[str]
    sections: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ()
    margin: ClassVar[float] = 0.5
    counts: int = 1
    adds: ClassVar[bool] = True
    half: ClassVar[bool] = True
    share: ClassVar[bool] = False

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)

    @classmethod
    @abstractmethod
    def load(cls, config: DataConfig) -> ImageData:
        """Find the data, and say how its training batches are augmented.

        Raises:
            FileNotFoundError: data that is not there.
            ValueError: data that is not as it must be; names the file.
        """

    @classmethod
    @abstractmethod
    def describe(cls, config: DataConfig) -> Found:
        """What :meth:`load` finds, without decoding what need not be decoded."""

    @abstractmethod
    def network(self, config: NetworkConfig, operator: str, in_chans: int, **options: Any) -> nn.Module:
        """The configured network with one operator, from normalised images (B, in_chans, H, W).

        Args:
            config: names the network.
            operator: of its convolutions.
            in_chans: channels that it takes.
            **options: what :func:`decoupled_nets.networks.build` takes beside these.

        Raises:
            ValueError: the model or the operator is unknown, or an option is out of range.
        """

    def shape(self, image_size: tuple[int, int]) -> tuple[int, ...] | None:
        """The shape of what a network has to give for an image of that size; None: that is open."""
        return None

    @abstractmethod
    def loss(
        self,
        outputs: Any,
        targets: Any,
        *,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        reduction: Reduction = "mean",
    ) -> Tensor:
        """The loss of a batch: ``mean`` is what training descends, ``sum`` adds up over the images.

        Where a task takes ``mixup``, targets may also be the shares of the classes, (B, K).
        """

    def training_loss(
        self, network: Callable[..., Any], images: Tensor, targets: Any, **options: Any
    ) -> Tensor:
        """The mean loss of a training batch, which training descends; some networks want to see the targets.

        Args:
            network: takes images, or images and their targets where this task's networks see them.
            images: (B, C, H, W).
            targets: of the images.
            **options: what :meth:`loss` takes.
        """
        return self.loss(network(images), targets, **options)

    @abstractmethod
    def class_counts(self, data: ImageData) -> Tensor:
        """How often each class occurs in the training set: (K,), int64."""

    @abstractmethod
    def outcomes(self, outputs: Any, targets: Any) -> Tensor:
        """What is kept of each image: (B, counts), int64."""

    def kept(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """What else is kept of each image, by name, (B, ...); by default nothing."""
        return {}

    @abstractmethod
    def value(self, totals: Tensor, images: float) -> float:
        """The metric of `images` images whose outcomes add up to `totals`, (counts,).

        Where nothing adds up, `totals` are the outcomes of all images, (images, counts).
        """

    def scorer(self, outcomes: Tensor) -> Callable[[NDArray[Any]], float]:
        """The metric of these images, (N, counts), when they count as often as weights (N,) say.

        What no weights change is done once.
        """
        rows = outcomes.numpy()
        return lambda weights: self.value(torch.from_numpy(weights @ rows), float(weights.sum()))

    def baselines(self, data: ImageData) -> dict[str, Tensor]:
        """Outcomes of test images, (images, counts), of what needs no training, by name; by default none."""
        return {}

    def examples(self, network: nn.Module, data: ImageData) -> Examples | None:
        """Pictures of what a trained network does with a few test images, for the page; by default none."""
        return None
