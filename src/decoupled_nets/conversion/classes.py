"""Which classes a plain layer can take on, and how it takes one on and off without leaving its place.

A layer changes its class, as ``torch.nn.utils.parametrize`` has it. It stays the same object: weight, bias,
hooks, mode, parametrisations, and whoever refers to it, are not touched. A layer of somebody else's class
becomes both that and a decoupled layer, so that its other methods stay.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from ..nn import (
    DecoupledConv1d,
    DecoupledConv2d,
    DecoupledConv2dPadded,
    DecoupledConv2dSame,
    DecoupledConv3d,
    DecoupledLinear,
    DecoupledStdConv2d,
    DecoupledStdConv2dSame,
)
from ..nn.operator import LEARNED, DecoupledMixin

#: What torch.nn has, and its twins.
TWINS: dict[type, type] = {
    nn.Conv1d: DecoupledConv1d,
    nn.Conv2d: DecoupledConv2d,
    nn.Conv3d: DecoupledConv3d,
    nn.Linear: DecoupledLinear,
}
#: Tried on layers whose class computes in a way of its own, in this order.
BUILT_IN: tuple[type, ...] = (
    *TWINS.values(), DecoupledConv2dPadded, DecoupledConv2dSame, DecoupledStdConv2d, DecoupledStdConv2dSame,
)  # fmt: skip
REGISTERED: dict[type, type] = {}
#: What a decoupled layer has beside a plain one.
STATE = (
    "operator", "weighting", "eps", "relative", "radius", "mean_norm", "num_updates", "kappa", "scale",
    *LEARNED,
)  # fmt: skip
#: What a class may not define anew if it is to compute as its base does, without being tried.
_DECIDES = {
    "forward", "_conv_forward", "__call__", "_call_impl", "_wrapped_call_impl", "__getattr__",
    "__getattribute__", "__torch_function__", "weight", "bias", "in_channels", "out_channels", "kernel_size",
    "stride", "padding", "dilation", "groups", "padding_mode", "_reversed_padding_repeated_twice",
    "in_features", "out_features",
}  # fmt: skip
_PLAIN = "_plain_class"
_ASIDE = "plain_state"
# What is in every class's own dictionary.
_ORDINARY = {"__module__", "__doc__", "__dict__", "__weakref__", "__static_attributes__", "__firstlineno__"}


def register_twin(cls: type[nn.Module], twin: type[nn.Module]) -> None:
    """Say what :func:`decoupled_nets.convert` turns layers of a class of your own into.

    A twin is a subclass of :class:`decoupled_nets.DecoupledConv2d` (or 1d, 3d, ``DecoupledLinear``) that
    overrides ``padded_input``, if the class pads in its own way, or ``effective_weight``, if it computes with
    another kernel than its weight. A converted layer is an instance of both classes, so the twin finds the
    attributes and parameters that the class's constructor made; those named ``eps`` or ``scale``, names that
    decoupled layers need themselves, it lists in ``set_aside`` and finds in ``plain_state``. Nothing is
    constructed: revert, fuse and saving follow.

    Layers are tried when they are converted: where the twin, with an operator that takes nothing apart, does
    not give what the layer gives, the layer is left, and the report says so. Subclasses of `cls` have the
    twin, too. Convolutions padded as TensorFlow does, and weight-standardised ones as timm has them, need no
    registration.

    Args:
        cls: a subclass of ``nn.Conv1d``, ``2d``, ``3d`` or ``nn.Linear``.
        twin: its decoupled twin.

    Raises:
        TypeError: one of the two is of another kind.

    Example:
        >>> import torch, decoupled_nets as dn
        >>> class Centred(torch.nn.Conv2d):
        ...     def forward(self, x):
        ...         return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)
        >>> class DecoupledCentred(dn.DecoupledConv2d):
        ...     def effective_weight(self):
        ...         return self.weight - self.weight.mean()
        >>> dn.register_twin(Centred, DecoupledCentred)
        >>> model = torch.nn.Sequential(Centred(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        >>> print(dn.convert(model).converted[0].became)
        DecoupledCentred tanh-cos
    """
    base = base_of(cls) if isinstance(cls, type) else None
    if base is None or cls in TWINS:
        raise TypeError(f"{cls!r} received; needed: a subclass of nn.Conv1d, 2d, 3d or nn.Linear")
    if not isinstance(twin, type) or not issubclass(twin, TWINS[base]):
        raise TypeError(f"{twin!r} received; needed: a subclass of {TWINS[base].__name__}")
    REGISTERED[cls] = twin


def base_of(kind: type) -> type | None:
    """The class of torch.nn's that a class comes from, or None."""
    return next((base for base in kind.__mro__ if base in TWINS), None)


def computes_as_its_base(kind: type) -> bool:
    """Whether a class defines nothing anew that a decoupled layer would do without."""
    for base in kind.__mro__:
        if base in TWINS:
            return True
        if base.__module__ != "torch.nn.modules.module" and _DECIDES & set(vars(base)):
            return False
    return False


def plain_class(module: nn.Module) -> type:
    """The class of a module, without what parametrisations put in between."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


@functools.cache
def mixed(twin: type, plain: type) -> Any:
    """A class that is both: it computes as the twin does, and keeps the other methods of the plain one."""
    if plain in twin.__mro__:
        return twin

    def reduced(self: Any, protocol: Any) -> Any:
        return _blank, (twin, plain), self.__getstate__()

    names = {"__module__": twin.__module__, "__doc__": twin.__doc__, "__reduce_ex__": reduced}
    return type(twin.__name__, (twin, plain), names)


def _blank(twin: type, plain: type) -> Any:
    kind = mixed(twin, plain)
    return kind.__new__(kind)


def put_on(module: Any, twin: type) -> None:
    """Give a plain layer the class of its twin, without the parameters that belong to it."""
    plain = plain_class(module)
    kind = mixed(twin, plain)
    aside = {name: module.__dict__.pop(name) for name in set_aside(twin) if name in module.__dict__}
    _change_class(module, kind)
    module.__dict__[_PLAIN] = plain
    if aside:
        module.__dict__[_ASIDE] = aside


def set_aside(twin: type) -> tuple[str, ...]:
    """Attributes of the plain layer that stay out of the way of its twin's."""
    return getattr(twin, "set_aside", ())


def to_plain(module: Any) -> None:
    """Make a decoupled layer plain again, with its weight and bias as they are."""
    _change_class(module, plain_class_of(module))
    for name in STATE:
        for place in (module.__dict__, module._parameters, module._buffers):
            place.pop(name, None)
    module.__dict__.pop(_PLAIN, None)
    module.__dict__.update(module.__dict__.pop(_ASIDE, {}))


def plain_class_of(module: Any) -> type:
    """The class that a decoupled layer had, or would have as a plain one.

    Raises:
        ValueError: it has no plain twin.
    """
    if (known := module.__dict__.get(_PLAIN)) is not None:
        return known
    kind = plain_class(module)
    for plain, twin in TWINS.items():
        if kind is twin:
            return plain
    raise ValueError(f"{kind.__qualname__} received; needed: a layer with a plain twin")


@contextmanager
def as_plain(layers: list[Any]) -> Iterator[None]:
    """Let decoupled layers compute as plain ones for a while."""
    before = [(layer, plain_class(layer), dict(layer.__dict__)) for layer in layers]
    try:
        for layer in layers:
            _change_class(layer, plain_class_of(layer))
            layer.__dict__.update(layer.__dict__.get(_ASIDE, {}))
        yield
    finally:
        for layer, kind, had in before:
            _change_class(layer, kind)
            for name in had.get(_ASIDE, ()):
                layer.__dict__.pop(name)
                if name in had:
                    layer.__dict__[name] = had[name]


def _change_class(module: Any, kind: type) -> None:
    """Give a module another class; parametrisations keep the one they have put between."""
    if not is_parametrized(module):
        module.__class__ = kind
        return
    between = {k: v for k, v in vars(type(module)).items() if k not in _ORDINARY}
    module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), between)


@contextmanager
def parametrizations_in_evaluation(module: Any) -> Iterator[None]:
    """Weights can be read without one more step of spectral_norm's iteration."""
    parts = list(module.parametrizations.modules()) if is_parametrized(module) else []
    modes = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


def is_decoupled(module: nn.Module) -> bool:
    """Whether a layer is decoupled already."""
    return isinstance(module, DecoupledMixin)
