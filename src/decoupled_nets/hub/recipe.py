"""How a network is built again: its name and options, and which of its layers were converted since.

A name is looked up in a registry, ours, timm's or torchvision's. Nothing that a file names is imported, and
no option of it makes one of them read or fetch a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..conversion import convert, revert
from ..conversion.answers import is_answering
from ..conversion.dynamic import REPLACES
from ..models import Normalize, PixelNetwork, create_model
from ..models.detection import OWN as DETECTOR
from ..models.detection import Detector
from ..models.joint import OWN as JOINT
from ..models.joint import JointUpsampler
from ..models.layers import BLOCK_OPERATORS, PLAIN
from ..models.segmentation import OWN, UNet, WholeImage
from ..models.sources import sources
from ..nn import DDF2d
from ..nn.dynamic import variant_of
from ..nn.operator import DecoupledMixin
from .upsampling import answer_again, answers_of
from .values import from_json, to_json

#: Options of dynamic filters that they have from the convolution in whose place they stand.
_PLACED = ("kernel_size", "stride", "dilation", "bias")
#: How timm names its wrappers that give features.
_FEATURES = {
    "FeatureListNet": None, "FeatureDictNet": "dict", "FeatureHookNet": "hook", "FeatureGraphNet": "fx",
    "FeatureGetterNet": "getter",
}  # fmt: skip
#: What a network that was built remembers of its recipe; the rest shows in its layers.
_REMEMBERED = ("source", "model", "arguments", "whole_image", "detector")
#: Options that say how many classes and channels there are.
_SIZES = ("num_classes", "classes", "in_chans", "in_channels")
Recipe = dict[str, Any]


def recipe_of(model: nn.Module, given: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a network, as JSON values.

    Args:
        model: made by :func:`decoupled_nets.create_model` or by timm, or of whatever origin with `given`; its
            layers may have been converted, and it may be in a :class:`PixelNetwork` as ``load_network``
            gives it.
        given: ``{"source": "timm", "model": "resnet18", "arguments": {"num_classes": 10}}`` and so on, where
            the network does not know it.

    Raises:
        ValueError: the network is of unknown origin, or was changed in a way that cannot be told.
    """
    normalize, network = _split(model)
    origin = dict(given) if given is not None else _origin(network)
    if (source := sources().get(str(origin.get("source")))) is not None:
        inner = network.network if isinstance(network, Detector) else network
        origin["arguments"] = source.seen(inner, dict(origin.get("arguments", {})))
    recipe: Recipe = {
        "source": origin.get("source", "decoupled_nets"),
        "model": origin.get("model"),
        "arguments": to_json(origin.get("arguments", {}), f"the network {origin.get('model')!r}"),
    }
    for key in ("whole_image", "detector"):
        if key in origin:
            recipe[key] = origin[key]
    if normalize is not None:
        recipe["normalize"] = {
            "mean": normalize.mean.flatten().tolist(),
            "std": normalize.std.flatten().tolist(),
        }
    recipe.update(_changes(network, _split(_sketch(recipe))[1]))
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if len(dtypes) == 1 and dtypes != {torch.float32}:
        recipe["dtype"] = str(dtypes.pop()).removeprefix("torch.")
    _compare(model, _sketch(recipe))
    return recipe


def _sketch(recipe: Recipe) -> nn.Module:
    """The network of a recipe, without memory for its weights unless its code needs some."""
    try:
        with torch.device("meta"):
            return build(recipe)
    except ValueError:
        with torch.random.fork_rng():
            return build(recipe)


def build(recipe: Recipe) -> nn.Module:
    """The network of a recipe, its weights new.

    Raises:
        ValueError: the recipe is malformed or names something unknown.
    """
    source, name = recipe.get("source"), recipe.get("model")
    if not isinstance(source, str) or source not in _SOURCES or not isinstance(name, str):
        raise ValueError(
            f"source = {source!r} and model = {name!r} received; needed: "
            f"one of {', '.join(_SOURCES)} and a name"
        )
    arguments = from_json(recipe.get("arguments", {}), f"the network {name!r}")
    try:
        network = _SOURCES[source](name, arguments)
        if "whole_image" in recipe:
            network = WholeImage(network, int(recipe["whole_image"]))
        if "detector" in recipe:
            network = Detector(network, int(recipe["detector"]))
        for change in recipe.get("upsampling", []):
            answer_again(network, change)
        for change in recipe.get("converted", []):
            _convert(network, change)
        for layer in recipe.get("reverted", []):
            revert(network.get_submodule(layer))
    # RuntimeError: of torch, of sizes that are negative or do not fit in memory.
    except (TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"the network {name!r} cannot be built as configured: {error}") from error
    remembers = source in sources() and sources()[source].remembers
    if not remembers and not isinstance(getattr(network, "recipe", None), dict):
        known: Any = network
        known.recipe = {key: recipe[key] for key in _REMEMBERED if key in recipe}
    network = _normalized(network, recipe.get("normalize"))
    return network.to(_dtype(recipe["dtype"])) if "dtype" in recipe else network


def _normalized(network: nn.Module, normalize: Any) -> nn.Module:
    if normalize is None:
        return network
    if not isinstance(normalize, dict) or set(normalize) != {"mean", "std"}:
        raise ValueError(f"normalize = {normalize!r} received; needed: a table with mean and std")
    try:
        return PixelNetwork(network, **normalize)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"normalize = {normalize!r} received; needed: mean and std, each a list of numbers"
        ) from error


def _dtype(name: Any) -> torch.dtype:
    known = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"dtype = {name!r} received; needed: one of {', '.join(known)}")
    return known[name]


def _split(model: nn.Module) -> tuple[Normalize | None, nn.Module]:
    """The normalisation in front of a network, and the network."""
    if isinstance(model, PixelNetwork):
        return model.normalize, model.network
    return None, model


def _origin(network: Any) -> Recipe:
    """What a network knows of how it was made."""
    if isinstance(known := getattr(network, "recipe", None), dict):
        ignored = ("pretrained_cfg", "pretrained_cfg_overlay")
        arguments = {k: v for k, v in known["arguments"].items() if k not in ignored}
        return {
            **{k: known[k] for k in ("source", "whole_image", "detector") if k in known},
            "model": known["model"],
            "arguments": arguments,
        }
    cfg = getattr(network, "pretrained_cfg", None)
    architecture = cfg.get("architecture") if isinstance(cfg, dict) else getattr(cfg, "architecture", None)
    if architecture and type(network).__module__.startswith("timm."):
        first = next(m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        arguments = {"in_chans": first.weight.shape[1], **_outputs(network)}
        return {"source": "timm", "model": architecture, "arguments": arguments}
    kind = f"a {type(network).__qualname__} of unknown origin received"
    if type(network).__module__.startswith("torchvision."):
        raise ValueError(
            f"{kind}; needed: how it is built, for example "
            'recipe={"source": "torchvision", "model": "resnet18", "arguments": {"num_classes": 10}}'
        )
    raise ValueError(
        f"{kind}; needed: a network that decoupled_nets, timm or torchvision builds by a name (recipe= gives "
        "it); for a class of your own, write torch.save(model.state_dict(), file), and load the file into a "
        "network that was built and converted in the same way"
    )


def _outputs(network: Any) -> dict[str, Any]:
    """Options of timm's that say what a network gives: classes, or features."""
    kind = type(network).__name__
    if kind not in _FEATURES:
        return {"num_classes": network.num_classes}
    which = {} if _FEATURES[kind] is None else {"feature_cls": _FEATURES[kind]}
    return {"features_only": True, "out_indices": list(network.feature_info.out_indices), **which}


def _ours(name: str, arguments: dict[str, Any]) -> nn.Module:
    if name == OWN:
        return UNet(**arguments)
    if name == JOINT:
        return JointUpsampler(**arguments)
    if name == DETECTOR:
        from ..models.faster_rcnn import fasterrcnn

        return Detector(fasterrcnn(**arguments), int(arguments.get("in_chans", 3)))
    return create_model(name, **arguments)


_SOURCES: dict[str, Callable[[str, dict[str, Any]], nn.Module]] = {
    "decoupled_nets": _ours,
    **{name: source.build for name, source in sources().items()},
}


def retargeted(recipe: Recipe, classes: int, in_chans: int) -> Recipe:
    """The recipe of the same network for other classes and channels, without normalisation, in float32."""
    source, name = sources().get(str(recipe.get("source"))), recipe.get("model")
    new = (
        {"classes" if name in (OWN, DETECTOR) else "num_classes": classes, "in_chans": in_chans}
        if source is None
        else source.arguments(str(name), classes, in_chans)
    )
    sized = {key: value for key, value in new.items() if key in _SIZES}
    kept = {key: value for key, value in recipe.items() if key not in ("normalize", "dtype")}
    return {**kept, "arguments": {**recipe.get("arguments", {}), **sized}}


def channels_in(recipe: Recipe) -> int:
    """How many channels the network of a recipe takes."""
    source, arguments = sources().get(str(recipe.get("source"))), recipe.get("arguments", {})
    return int(arguments.get("in_chans", 3)) if source is None else source.channels(arguments)


def operator_in(recipe: Recipe) -> str:
    """What stands in a network's convolutions: ``conv``, or by its shorthand another operator.

    Several are joined by ``+``: there is no operator of that name.

    Raises:
        ValueError: as of :func:`build`.
    """
    arguments = recipe.get("arguments", {})
    asked = arguments.get("operator") if recipe.get("source") not in sources() else None
    found = dict.fromkeys([asked] if asked in BLOCK_OPERATORS else [])
    for module in _sketch(recipe).modules():
        if isinstance(module, DecoupledMixin):
            found[str(module.operator)] = None
        elif isinstance(module, DDF2d) and asked not in BLOCK_OPERATORS:
            found[variant_of(module.options())] = None
    return "+".join(found) or PLAIN


def _changes(network: nn.Module, built: nn.Module) -> Recipe:
    """Which layers were converted or made plain, and which upsampling, since the network was built."""
    before = {name: _settings(module) for name, module in built.named_modules()}
    after = {name: _settings(module) for name, module in network.named_modules()}
    kinds: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for name, settings in after.items():
        if settings is not None and settings != before.get(name):
            kinds.setdefault(repr(settings), (settings, []))[1].append(name)
    converted = [{"layers": names, **settings} for settings, names in kinds.values()]
    reverted = [
        name for name, settings in before.items() if settings and not after.get(name) and name in after
    ]
    upsampling = [answers_of(name, m) for name, m in network.named_modules() if is_answering(m)]
    found = {"upsampling": upsampling, "converted": converted, "reverted": reverted}
    return {key: names for key, names in found.items() if names}


def _settings(module: Any) -> dict[str, Any] | None:
    """The arguments of ``convert`` that make a layer what it is; None for a plain one."""
    if isinstance(module, DecoupledMixin):
        return to_json(module.options(), "a layer")
    if REPLACES in module.__dict__:  # dynamic filters in the place of a convolution
        mixed: bool | str = isinstance(module, nn.Sequential)
        filters: Any = module[0] if mixed else module
        if mixed and module[1].in_channels == module[1].out_channels:
            mixed = "dense"
        options = {name: value for name, value in filters.options().items() if name not in _PLACED}
        return to_json({"operator": "ddf", "mix_channels": mixed, **options}, "a layer")
    return None


def _convert(network: nn.Module, change: Any) -> None:
    if not isinstance(change, dict) or not isinstance(change.get("layers"), list):
        raise ValueError(f"converted = {change!r} received; needed: layers and their operator")
    layers = set(change["layers"])
    options = from_json({k: v for k, v in change.items() if k != "layers"}, "a converted layer")
    known = dict(network.named_modules())
    if missing := sorted(map(str, layers - set(known))):
        raise ValueError(f"the network has no layer {missing[0]!r}, which is to be converted")
    for name in layers:
        if isinstance(
            known[name], DecoupledMixin
        ):  # another operator in the place of the one it was built with
            revert(known[name])
    report = convert(network, select=lambda name, module: name in layers, linear=True, **options)
    if left := [fate for fate in report.left if set(fate.names) & layers]:
        raise ValueError(f"the layer {left[0].name!r} cannot be converted: {left[0].reason}")


def _compare(model: nn.Module, built: nn.Module) -> None:
    """Refuse a network that its recipe does not lead to.

    Raises:
        ValueError: names, shapes or types of its state differ, or a module does: another stride, another
            activation.
    """
    state, expected = model.state_dict(), built.state_dict()
    scales = {name for name in state if name.rpartition(".")[2] == "scale"}  # of calibrated layers
    other = sorted((set(state) ^ set(expected)) - scales)
    other += [name for name in state if name in expected and state[name].shape != expected[name].shape]
    difference = f"{other[0]!r} differs" if other else _other_module(model, built)
    if difference:
        raise ValueError(
            f"the network is not what its name and options build ({difference}); it was changed "
            "since, by fuse() or by hand, or built with options that are not known; needed: recipe= with them"
        )
    for name, value in state.items():
        if name in expected and value.dtype != expected[name].dtype:
            raise ValueError(
                f"a network of mixed types received; needed: one type; {name!r} is of {value.dtype}, "
                f"the rest of {expected[name].dtype}"
            )


def _other_module(model: nn.Module, built: nn.Module) -> str:
    """The first module that is not what was built in its place, in words, or ""."""
    found, expected = dict(model.named_modules()), dict(built.named_modules())
    for name in [*found, *expected]:
        got, wanted = _described(found.get(name)), _described(expected.get(name))
        if got != wanted:
            return f"the module {name!r} is {got} instead of {wanted}"
    return ""


def _described(module: nn.Module | None) -> str:
    if module is None:
        return "absent"
    # Where a result is stored is no part of what a network computes.
    options = re.sub(r"(, )?inplace(=True)?$", "", module.extra_repr())
    if not options and hasattr(module, "eps"):  # of frozen norms, which print themselves
        options = f"eps={module.eps}"
    return f"{type(module).__name__}({options})"
