"""The weights of the classes in the training loss."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data import ImageData
from ..tasks import Task
from .optim_config import OptimConfig


def class_weights(task: Task, config: OptimConfig, data: ImageData | None) -> Tensor | None:
    """The weight of each class in the training loss, (K,) float32; None: all count alike.

    Raises:
        ValueError: there is not a weight for each class, or nothing to count.
    """
    classes = len(task.classes)
    if config.class_weights == "balanced":
        if data is None:
            raise ValueError("class_weights = 'balanced' received without data; needed: images to count")
        counts = task.class_counts(data).double()
        present = counts > 0
        weights = torch.where(present, counts.sum() / (present.sum() * counts), 0.0)
        return weights.float()
    if config.weights is None:
        return None
    if len(config.weights) != classes:
        raise ValueError(
            f"class_weights has {len(config.weights)} numbers for {classes} classes; needed: {classes},"
            " or balanced"
        )
    return torch.tensor(config.weights)
