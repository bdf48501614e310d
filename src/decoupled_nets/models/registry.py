"""Networks by name."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import nn

from .._registry import Registry

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

_BUILDERS: Registry[Callable[..., nn.Module]] = Registry("model")
_ALIASES: dict[str, str] = {}


def register_model(builder: Builder) -> Builder:
    """Decorator: make a function that builds a network available under its own name.

    What it builds remembers how, in the attribute ``recipe``: the network's name and the options given.
    """

    @functools.wraps(builder)
    def recorded(*args: Any, **kwargs: Any) -> nn.Module:
        model: Any = builder(*args, **kwargs)
        names = ("num_classes", "in_chans")
        model.recipe = {
            "model": builder.__name__,
            "arguments": {**dict(zip(names, args, strict=False)), **kwargs},
        }
        return model

    _BUILDERS.add(builder.__name__, recorded)
    return cast(Builder, recorded)


def note(model: Any, **arguments: Any) -> None:
    """Have a network remember options that changed since it was built."""
    if isinstance(recipe := getattr(model, "recipe", None), dict):
        model.recipe = {**recipe, "arguments": {**recipe["arguments"], **arguments}}


def register_alias(alias: str, name: str, *, listed: bool = False) -> None:
    """Make a network available under a second name.

    One that other libraries have for their own is not to be listed: what is, goes into timm's registry.
    """
    if listed:
        _BUILDERS.add(alias, _BUILDERS[name])
    else:
        _ALIASES[alias] = name


def builder_of(name: str) -> Callable[..., nn.Module]:
    """The function that builds the network of that name.

    Raises:
        ValueError: there is no such network.
    """
    return _BUILDERS[name]


def create_model(name: str, num_classes: int = 1000, in_chans: int = 3, **kwargs: Any) -> nn.Module:
    """Build a network.

    Args:
        name: one of :func:`list_models`; ``imagenet_`` may be left out.
        num_classes: outputs of the classifier.
        in_chans: input channels.
        **kwargs: the network's own options; ``help(decoupled_nets.models.build)`` and
            ``help(decoupled_nets.models.ddf_resnet.ddf_resnet)`` name them.

    Returns:
        A module from (B, in_chans, H, W) to (B, num_classes).

    Raises:
        ValueError: there is no network of that name.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> model = dn.create_model("cnn9", num_classes=10, in_chans=1, operator="ball-cos", width=0.125)
        >>> model(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    return _BUILDERS[_ALIASES.get(name, name)](num_classes=num_classes, in_chans=in_chans, **kwargs)


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered networks that match a shell pattern, sorted.

    Example:
        >>> import decoupled_nets as dn
        >>> dn.list_models("cnn*")
        ['cnn9']
    """
    return sorted(fnmatch.filter(_BUILDERS, pattern))
