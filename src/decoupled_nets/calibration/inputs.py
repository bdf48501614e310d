"""What goes into a network in calibration, and what of its outputs is compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

Forward = Callable[[nn.Module, Any], Any]


def take(batches: Iterable[Any], limit: int, model: nn.Module, *, whole: bool) -> list[Any]:
    """At most `limit` batches on the model's device: `whole`, or only the tensor that they are or begin with.

    Raises:
        ValueError: there is none, one is empty, or one has no tensor where it is needed.
        TypeError: `limit` is not an integer.
    """
    if isinstance(batches, Tensor):
        raise ValueError(
            "one tensor received as batches; needed: a list of batches, [tensor] for a single one"
        )
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"max_batches = {limit!r} received; needed: a positive integer")
    if limit < 1:
        raise ValueError(f"max_batches = {limit} received; needed: a positive integer")
    device = next((p.device for p in model.parameters()), None)
    taken = [_on(device, b if whole else _first(b)) for b in itertools.islice(batches, limit)]
    if not taken:
        raise ValueError("no batch received; needed: at least one")
    return taken


def _first(batch: Any) -> Tensor:
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if not isinstance(first, Tensor):
        raise ValueError(
            f"a batch that is or begins with {type(first).__name__} received; needed: a tensor, or "
            "how the network takes other batches, such as forward=lambda model, batch: model(**batch)"
        )
    if not first.numel():
        raise ValueError(f"a batch of shape {tuple(first.shape)} received; needed: one input or more")
    return first


def takes_no_single_input(model: nn.Module) -> str | None:
    """Why a network cannot be called with one tensor alone, or None."""
    try:
        signature(model.forward).bind(None)
    except TypeError as error:
        return str(error)
    except ValueError:  # of compiled code
        return None
    return None


def _on(device: torch.device | None, batch: Any) -> Any:
    if device is None:
        return batch
    if not isinstance(batch, Tensor) and callable(getattr(batch, "to", None)):  # graphs, tokenizers' batches
        return batch.to(device)
    return tree_map_only(Tensor, lambda tensor: tensor.to(device), batch)


class Outputs:
    """What a network gives for every batch, as far as it can be compared.

    Attributes:
        values: the first tensor of every output.
        why_not: why they cannot be compared with another network's, or None.
    """

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        self.why_not: str | None = None

    def add(self, given: Any) -> None:
        """Take in what the network gave for a batch.

        Raises:
            TypeError: there is no tensor in it.
        """
        first = next((leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)), None)
        if first is None:
            raise TypeError(
                f"an output of type {type(given).__name__} received; needed: one with a tensor in it"
            )
        if isinstance(given, list | tuple) and given and isinstance(given[0], dict):
            self.why_not = "the network gives a list of dicts, one for an input"
        elif not first.dim():
            self.why_not = "the network gives a single number"
        elif self.values and first.shape[1:] != self.values[0].shape[1:]:
            shapes = f"{tuple(self.values[0].shape)} and {tuple(first.shape)}"
            self.why_not = f"outputs are of shapes {shapes}, not (B, ...) with the same ... for every batch"
        self.values.append(first)


def comparable(outputs: Outputs, others: Outputs) -> str | None:
    """Why two networks' outputs cannot be compared, or None."""
    if (reason := outputs.why_not or others.why_not) is not None:
        return reason
    pairs = zip(outputs.values, others.values, strict=True)
    if any(one.shape != other.shape for one, other in pairs):
        return "how many outputs there are depends on the network"
    return None
