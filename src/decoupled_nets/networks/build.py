"""From a name and an operator to a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .._code import file_of, function_named
from .._downloads import no_downloads
from ..conversion import convert, convert_upsampling
from ..conversion.engine import revert_layers, revert_upsampling
from ..conversion.spelling import parse_select
from ..hub.files import read_recipe
from ..hub.recipe import build as build_recipe
from ..hub.recipe import channels_in, operator_in, retargeted
from ..models import NetworkConfig, create_model
from ..models.detection import OWN as DETECTOR
from ..models.detection import Detector
from ..models.joint import OWN as JOINT
from ..models.joint import UPSAMPLER, JointUpsampler
from ..models.layers import BLOCK_OPERATORS, DEPTHWISE, PLAIN
from ..models.segmentation import OWN, UNet, WholeImage
from ..models.sources import Source, Weights, source_named, sources
from ..nn.dynamic import DDF_VARIANTS
from .given import Given, folder_here
from .loading import match, operators_own
from .names import check_joint, form_of

#: Size of the image whose way through a network is noted: deep enough maps of it are still maps.
_EXAMPLE = (128, 128)


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
        _load_with_operator(network, operator, given)
        return network
    if options:
        raise ValueError(
            f"{next(iter(options))} received for model {config.model}; needed: one of our own networks"
        )
    if form == "own":
        network = _own_detector(config, classes, in_chans) if boxes else _own_dense(config, classes, in_chans)
    elif form == "library":
        network = _library(config, classes, in_chans, dense, boxes, given, recipe)
    elif form == "code":
        network = _coded(config.model, classes, in_chans, code)
    else:
        recipe = recipe or saved_recipe(config)
        assert recipe is not None
        network = _saved(recipe, classes, in_chans)
        if config.upsample is not None:
            revert_upsampling(network)  # for what is asked for in its place
        there = operator_in(recipe)
        given.as_saved = there == operator != PLAIN
        if given.as_saved:
            _refuse_squeeze_ratio(config, there)
            inner = network.network if isinstance(network, WholeImage | Detector) else network
            _load_with_operator(inner, operator, given)
            return _upsampling(network, config, in_chans, given)
        _make_plain(network, config.model, there, operator)
    _load_and_convert(network, config, operator, given)
    return _upsampling(network, config, in_chans, given)


def _refuse_squeeze_ratio(config: NetworkConfig, there: str) -> None:
    """Refuse a ratio for filters that were saved with one of their own.

    Raises:
        ValueError: it was given.
    """
    if config.squeeze_ratio is not None:
        raise ValueError(
            f"squeeze_ratio = {config.squeeze_ratio} received for model {config.model}, which was saved with"
            f" {there}; needed: none, as its filters have theirs"
        )


def _upsampling(network: nn.Module, config: NetworkConfig, in_chans: int, given: Given) -> nn.Module:
    """The network with the configured upsampler in place of its own way, and the upsampler's weights.

    Raises:
        ValueError: it has no upsampling that could take it.
    """
    if config.upsample is None:
        return network
    inner = network.network if isinstance(network, WholeImage | Detector) else network
    before = set(inner.state_dict())
    report = convert_upsampling(network, torch.zeros(1, in_chans, *_EXAMPLE), config.upsample)
    if not report.converted:
        raise ValueError(f"{config.model} has no upsampling that takes {config.upsample!r}:\n{report}")
    given.upsampling = report
    if given.weights is not None and given.loaded is not None:
        new = set(inner.state_dict()) - before
        given.loaded = match(inner, given.weights, only=new).put_beside(inner, given.loaded)
    return network


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
    _load_and_convert(network, config, operator, given or Given())
    return network


def saved_recipe(config: NetworkConfig) -> dict[str, Any] | None:
    """What the folder of a saved network says of how to build it; None for other networks."""
    if form_of(config.model) != "saved":
        return None
    with no_downloads():
        return read_recipe(folder_here(config.model))


def _own_dense(config: NetworkConfig, classes: int, in_chans: int) -> nn.Module:
    if config.model != OWN:
        forms = [source.form for source in sources().values() if source.name != "timm"]
        raise ValueError(
            f"model {config.model!r} received for segmentation; needed: {OWN}, {', '.join(forms)}, a folder"
            " of save_pretrained or FILE.py:FUNCTION"
        )
    arguments: dict[str, Any] = {"width": config.width, "batch_norm": config.batch_norm, "relu": config.relu}
    network: Any = UNet(classes, in_chans, **arguments)
    network.recipe = {"model": OWN, "arguments": {"classes": classes, "in_chans": in_chans, **arguments}}
    return network


def _own_detector(config: NetworkConfig, classes: int, in_chans: int) -> nn.Module:
    from ..models.faster_rcnn import fasterrcnn

    if config.model != DETECTOR:
        raise ValueError(
            f"model {config.model!r} received for detection; needed: {DETECTOR}, torchvision:NAME, such as"
            " torchvision:fasterrcnn_resnet50_fpn, a folder of save_pretrained or FILE.py:FUNCTION"
        )
    arguments: dict[str, Any] = {"width": config.width, "batch_norm": config.batch_norm, "relu": config.relu}
    inner: Any = fasterrcnn(classes, in_chans, **arguments)
    network: Any = Detector(inner, in_chans)
    network.recipe = inner.recipe
    return network


def _library(
    config: NetworkConfig,
    classes: int,
    in_chans: int,
    dense: bool,
    boxes: bool,
    given: Given,
    recipe: dict[str, Any] | None,
) -> nn.Module:
    found = source_named(config.model)
    assert found is not None
    source, model = found
    if boxes:
        source.check_boxes(model)
    else:
        source.check(model, dense)
    arguments = source.arguments(model, classes, in_chans) if recipe is None else recipe["arguments"]
    if given.weights is not None and boxes:
        arguments = source.fitted(model, arguments, given.weights)
        given.weights = source.placed(model, given.weights)
    with no_downloads():
        network: Any = source.build(model, arguments)
    if dense:
        network = WholeImage(network, source.channels(arguments))
    if boxes:
        network = Detector(network, source.channels(arguments))
    if dense or boxes or not source.remembers:
        network.recipe = _recipe(source, model, arguments, dense, boxes)
    return network


def _recipe(
    source: Source, model: str, arguments: dict[str, Any], dense: bool, boxes: bool
) -> dict[str, Any]:
    whole = {"whole_image": source.channels(arguments)} if dense else {}
    if boxes:
        whole = {"detector": source.channels(arguments)}
    return {"source": source.name, "model": source.plain(model), "arguments": arguments, **whole}


def _coded(model: str, classes: int, in_chans: int, code: str | None) -> nn.Module:
    network = function_named(model, code)(num_classes=classes, in_chans=in_chans)
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"{model} gives a {type(network).__name__}; needed: an nn.Module, from the arguments num_classes"
            f" and in_chans; {file_of(model).name} has the function"
        )
    return network


def _saved(recipe: dict[str, Any], classes: int, in_chans: int) -> nn.Module:
    with no_downloads():
        return build_recipe(retargeted(recipe, classes, in_chans))


def _make_plain(network: nn.Module, model: str, there: str, operator: str) -> None:
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


def _load_with_operator(network: nn.Module, operator: str, given: Given) -> None:
    """Weights into a network that is built with its operator."""
    if given.weights is None:
        return
    own = operators_own(network)
    other = given.weights.operator not in (None, operator)
    given.loaded = match(network, given.weights, leave=own if other else ()).put(network)
    given.own_operator = given.weights.operator == operator or not (other or own & set(given.loaded.missing))


def _load_and_convert(network: nn.Module, config: NetworkConfig, operator: str, given: Given) -> None:
    """Weights into a plain network, and its conversion; or into the converted one, if they are of such."""
    # To guess what a detector takes needs many a try.
    example = ([torch.zeros(network.in_chans, 64, 64)],) if isinstance(network, Detector) else None
    network = network.network if isinstance(network, WholeImage | Detector) else network
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
    if weights.operator in (None, operator):
        again, new = match(network, weights), set(network.state_dict()) - plain
        if weights.operator == operator or (new and new <= set(again.fits)):
            given.loaded, given.own_operator = again.put(network), True
    if given.loaded is None:
        first.put(network)  # raises
