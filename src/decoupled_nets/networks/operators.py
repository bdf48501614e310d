"""An operator and weights into a network: which of them comes first, and what does not fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..conversion import convert
from ..conversion.engine import revert_layers
from ..conversion.spelling import parse_select
from ..models import NetworkConfig
from ..models.detection import Detector
from ..models.layers import BLOCK_OPERATORS, DEPTHWISE, PLAIN, same_operator
from ..nn.dynamic import DDF_VARIANTS
from .given import Given
from .loading import match, operators_own
from .plain import inside


def load_with_operator(network: nn.Module, operator: str, given: Given) -> None:
    """Weights into a network that is built with its operator.

    Raises:
        ValueError: the weights do not fit.
    """
    if given.weights is None:
        return
    own = operators_own(network)
    there = given.weights.operator
    same = same_operator(operator, there)
    other = there is not None and not same
    given.loaded = match(network, given.weights, leave=own if other else ()).put(network)
    given.own_operator = same or not (other or own & set(given.loaded.missing))


def load_and_convert(network: nn.Module, config: NetworkConfig, operator: str, given: Given) -> None:
    """Weights into a plain network, and its conversion; or into the converted one, if they are of such.

    Raises:
        ValueError: the weights do not fit, or none of its layers takes the operator.
    """
    # To guess what a detector takes needs many a try.
    example = ([torch.zeros(network.in_chans, 64, 64)],) if isinstance(network, Detector) else None
    network = inside(network)
    plain, weights = set(network.state_dict()), given.weights
    if weights is not None:
        first = match(network, weights)
        if first.enough or operator == PLAIN:
            given.loaded = first.put(network)
    if operator == PLAIN:
        return
    given.conversion = _convert(network, config, operator, example)
    if weights is None:
        return
    same = same_operator(operator, weights.operator)
    if same or weights.operator is None:
        again, new = match(network, weights), set(network.state_dict()) - plain
        if same or (new and new <= set(again.fits)):
            given.loaded, given.own_operator = again.put(network), True
    if given.loaded is None:
        first.put(network)  # raises


def make_plain(network: nn.Module, model: str, there: str, operator: str) -> None:
    """A saved network with plain layers of the same names, for its weights and for another operator.

    Raises:
        ValueError: it has filters that keep no kernels.
    """
    refused: ValueError | None = None
    if not set(there.split("+")) & set(BLOCK_OPERATORS):
        try:
            revert_layers(network)
            return
        except ValueError as error:
            refused = error
    raise ValueError(
        f"operator {operator!r} received for model {model}, a network with {there}, which has no plain"
        f" kernels to go back to; needed: {there!r}"
    ) from refused


def refuse_squeeze_ratio(config: NetworkConfig, there: str) -> None:
    """Refuse a ratio for filters that were saved with one of their own.

    Raises:
        ValueError: it was given.
    """
    if config.squeeze_ratio is not None:
        raise ValueError(
            f"squeeze_ratio = {config.squeeze_ratio} received for model {config.model}, which was saved with"
            f" {there}; needed: none, as its filters have theirs"
        )


def _convert(network: nn.Module, config: NetworkConfig, operator: str, example: Any = None) -> Any:
    if operator == DEPTHWISE:
        raise ValueError(
            f"operator {operator!r} received for model {config.model}; needed: {PLAIN!r}, a decoupled"
            " operator, or dynamic filters, such as 'ddf'; depth-wise ones stand in our own residual networks"
        )
    if operator in DDF_VARIANTS:
        options: dict[str, Any] = {"mix_channels": True}
        if config.squeeze_ratio is not None:
            options["squeeze_ratio"] = config.squeeze_ratio
    else:
        options = {"radius": config.radius, "weighting": config.weighting}
    if example is not None:
        options["example_input"] = example
    report = convert(network, operator, **parse_select(config.select), **options)
    if not report.converted:
        raise ValueError(f"{config.model} has no layer that takes the operator {operator!r}:\n{report}")
    return report
