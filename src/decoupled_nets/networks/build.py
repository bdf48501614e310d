"""From a name and an operator to a network."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..conversion.engine import revert_upsampling
from ..hub.recipe import channels_in, operator_in
from ..models import NetworkConfig, create_model
from ..models.layers import PLAIN, same_operator
from ..models.sources import Weights, source_named
from .given import Given
from .names import form_of
from .operators import load_and_convert, load_with_operator, make_plain, refuse_squeeze_ratio
from .plain import inside, plain_network, saved_network, saved_recipe
from .upsampling import put_upsampler


def gives_features(config: NetworkConfig) -> bool:
    """Whether the network can be built with features of any size before its classifier."""
    return form_of(config.model) == "own"


def channels_of(
    config: NetworkConfig, in_chans: int, recipe: dict[str, Any] | None = None, weights: Weights | None = None
) -> int:
    """How many channels the network takes: those of the images, or three for grey ones.

    Most weights are for colour, and some networks take nothing else.

    Args:
        config: names the network.
        in_chans: channels of the images.
        recipe: of a saved network.
        weights: that it starts from.
    """
    if in_chans != 1:
        return in_chans
    if weights is not None and weights.mean is not None:
        return len(weights.mean)
    if recipe is not None:
        return channels_in(recipe)
    found = source_named(config.model)
    if found is None:
        return in_chans
    source, model = found
    return source.channels(source.arguments(model, 1, in_chans))


def build(
    config: NetworkConfig,
    operator: str,
    classes: int,
    in_chans: int,
    *,
    dense: bool = False,
    boxes: bool = False,
    given: Given | None = None,
    recipe: dict[str, Any] | None = None,
    code: str | None = None,
    **options: Any,
) -> nn.Module:
    """A network with one operator; nothing is fetched.

    A network that is not built with its operator is built plain, gets its weights, and is converted: so all
    operators start from the same weights.

    Args:
        config: names the network, and how it is converted.
        operator: ``conv`` is the network with plain convolutions; one that a saved network has already leaves
            it as it was saved.
        classes: outputs of the classifier.
        in_chans: channels that it takes.
        dense: whether every pixel gets its classes, rather than the image.
        boxes: whether objects get boxes, rather than the image its class.
        given: weights to start from, and where it is noted what became of them.
        recipe: of a saved network, instead of reading it from the folder; of a library's detector as it was
            built, whose options depended on the weights that it started from.
        code: digest of the file that a function is from, wherever that file lies now.
        **options: further ones of our own networks.

    Raises:
        ValueError: there is no such network or operator, the weights do not fit, none of its layers takes
            the operator, or an option is out of range.
    """
    given = given or Given()
    form = form_of(config.model)
    if form == "own" and not (dense or boxes):
        network = create_model(
            config.model, classes, in_chans, operator=operator, **{**config.network_arguments(), **options}
        )
        load_with_operator(network, operator, given)
        return network
    if options:
        raise ValueError(
            f"{next(iter(options))} received for model {config.model}; needed: one of our own networks"
        )
    if form == "saved":
        recipe = recipe or saved_recipe(config)
        assert recipe is not None
        network = saved_network(recipe, classes, in_chans)
        if config.upsample is not None:
            revert_upsampling(network)  # for what is asked for in its place
        there = operator_in(recipe)
        given.as_saved = operator != PLAIN and same_operator(operator, there)
        if given.as_saved:
            refuse_squeeze_ratio(config, there)
            load_with_operator(inside(network), operator, given)
            return put_upsampler(network, config, in_chans, given)
        make_plain(network, config.model, there, operator)
    else:
        network = plain_network(
            config, classes, in_chans, dense=dense, boxes=boxes, given=given, recipe=recipe, code=code
        )
    load_and_convert(network, config, operator, given)
    return put_upsampler(network, config, in_chans, given)
