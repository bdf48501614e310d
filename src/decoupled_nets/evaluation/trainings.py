"""How far the training of a network had gone: a comparison of networks half trained says little."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ..data import ImageData
from .targets import Target

_IMAGES, _AT_ONCE = 1000, 128
#: What the last quarter of the epochs may change at most where training has flattened.
_ACCURACY = 0.01


def training_of(target: Target, network: nn.Module, data: ImageData, device: torch.device) -> dict[str, Any]:
    """What is known of its training, in plain values.

    Args:
        target: has the history.
        network: in evaluation mode.
        data: whose training images it is asked about, if it was trained on them.
        device: the network's.

    Returns:
        ``epochs``, ``train_accuracy`` at the end (of up to 1,000 training images as they are), ``change`` of
        the validation accuracy over the last quarter of the epochs, ``flattened`` (None: not known), and all
        of it in ``words``.
    """
    history = target.history
    own = bool(target.origin.get("digest") == data.digest)
    fitted = _train_accuracy(network, data, device) if own else None
    if not history:
        return {"epochs": None, "train_accuracy": fitted, "flattened": None,
                "words": "nothing is known of its training"}  # fmt: skip
    # Where training attacks, what is left under PGD-10 on held-out images is what has to come to rest.
    name, title = (
        ("val_pgd", "accuracy under PGD-10") if "val_pgd" in history[-1] else ("val_accuracy", "accuracy")
    )
    values = [epoch[name] for epoch in history if name in epoch]
    last = max(len(values) // 4, 1)
    change = values[-1] - values[-1 - last] if len(values) > last else math.nan
    losses = [epoch["train_loss"] for epoch in history]
    flat = abs(change) <= _ACCURACY
    words = f"{len(history)} epoch{'s' if len(history) > 1 else ''}"
    if fitted is not None:
        words += f", training accuracy {100 * fitted:.1f} %"
    if change == change:
        words += (
            f", in the last {last} the validation {title} changed by {100 * change:+.1f} points and the"
            f" training loss from {losses[-1 - last]:.3g} to {losses[-1]:.3g}"
        )
    words += ": flattened" if flat else ": not flattened"
    return {
        "epochs": len(history), "train_accuracy": fitted, "change": change if change == change else None,
        "flattened": flat, "words": words,
    }  # fmt: skip


@torch.no_grad()
def _train_accuracy(network: nn.Module, data: ImageData, device: torch.device) -> float | None:
    """None of a network that has diverged: its outputs are no numbers."""
    images, labels = data.train_subset(_IMAGES)
    logits = torch.cat([network(some.to(device)) for some in images.split(_AT_ONCE)]).cpu()
    if not bool(logits.isfinite().all()):
        return None
    return float((logits.argmax(1) == labels).double().mean())
