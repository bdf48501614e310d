"""The plain network that a name stands for: ours, a library's, a saved one, a function's."""

from __future__ import annotations

from typing import Any

from torch import nn

from .._code import file_of, function_named
from .._downloads import no_downloads
from ..hub.files import read_recipe
from ..hub.recipe import build as build_recipe
from ..hub.recipe import retargeted
from ..models import NetworkConfig
from ..models.detection import OWN as DETECTOR
from ..models.detection import Detector
from ..models.segmentation import OWN, UNet, WholeImage
from ..models.sources import Source, source_named, sources
from .given import Given, folder_here
from .names import form_of


def plain_network(
    config: NetworkConfig,
    classes: int,
    in_chans: int,
    *,
    dense: bool,
    boxes: bool,
    given: Given,
    recipe: dict[str, Any] | None,
    code: str | None,
) -> nn.Module:
    """A network with new weights and plain layers; nothing is fetched.

    Args:
        config: names it; it is no saved one, nor one of ours that gives the image its class.
        classes: outputs of the classifier.
        in_chans: channels that it takes.
        dense: whether every pixel gets its classes, rather than the image.
        boxes: whether objects get boxes, rather than the image its class.
        given: weights that a library's detector starts from, which are named and placed as it has them.
        recipe: of a library's detector as it was built, whose options depended on such weights.
        code: digest of the file that a function is from, wherever that file lies now.

    Raises:
        ValueError: there is no such network.
    """
    form = form_of(config.model)
    if form == "code":
        return _coded(config.model, classes, in_chans, code)
    if form == "library":
        return _library(config, classes, in_chans, dense, boxes, given, recipe)
    return _own_detector(config, classes, in_chans) if boxes else _own_dense(config, classes, in_chans)


def saved_recipe(config: NetworkConfig) -> dict[str, Any] | None:
    """What the folder of a saved network says of how to build it; None for other networks."""
    if form_of(config.model) != "saved":
        return None
    with no_downloads():
        return read_recipe(folder_here(config.model))


def saved_network(recipe: dict[str, Any], classes: int, in_chans: int) -> nn.Module:
    """A network as it was saved, operator included, with other outputs and inputs; nothing is fetched.

    Raises:
        ValueError: the recipe names nothing that could be built.
    """
    with no_downloads():
        return build_recipe(retargeted(recipe, classes, in_chans))


def inside(network: nn.Module) -> nn.Module:
    """The network itself, without what fits images of any size to it."""
    return network.network if isinstance(network, WholeImage | Detector) else network


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
