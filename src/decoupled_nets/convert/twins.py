"""Plain layers that become their decoupled twins, and back, without leaving their place.

A layer changes its class, as ``torch.nn.utils.parametrize`` has it, and gains an operator's parameters. It
stays the same object: weight, bias, hooks, mode, parametrisations, and whoever refers to it, are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from ..nn import DecoupledConv1d, DecoupledConv2d, DecoupledConv2dSame, DecoupledConv3d, DecoupledLinear
from ..nn.operator import DecoupledMixin, Radius
from ..ops.operator import Operator, Weighting, resolve_operator

_TWINS: dict[type, type] = {
    nn.Conv1d: DecoupledConv1d,
    nn.Conv2d: DecoupledConv2d,
    nn.Conv3d: DecoupledConv3d,
    nn.Linear: DecoupledLinear,
}
_SAME = ("timm.layers.conv2d_same", "Conv2dSame")
_STATE = (
    "operator", "weighting", "eps", "relative", "radius", "mean_norm", "num_updates", "kappa", "scale",
)  # fmt: skip
_PLAIN = "_plain_class"
# What a subclass may define and still compute as its base does.
_HARMLESS = {
    "__init__", "__module__", "__qualname__", "__doc__", "__annotations__", "__annotate__",
    "__annotate_func__", "__annotations_cache__", "__static_attributes__", "__firstlineno__", "__constants__",
    "__parameters__", "__orig_bases__", "__classcell__",
}  # fmt: skip


@dataclass(frozen=True)
class Decoupled:
    """The replacement of a layer by its decoupled twin.

    Args:
        operator: an :class:`Operator` or its shorthand.
        radius: as in :class:`decoupled_nets.DecoupledConv2d`, like weighting and eps.
        weighting: how ``‖w‖`` counts.
        eps: added to the squared norms under the root.
    """

    operator: Operator | str
    radius: Radius = "relative"
    weighting: Weighting | None = None
    eps: float = 1e-4

    def __post_init__(self) -> None:
        object.__setattr__(self, "operator", resolve_operator(self.operator))
        # One layer for the errors and warnings of all.
        DecoupledConv1d(
            1, 1, 1, device="meta", operator=self.operator, radius=self.radius, weighting=self.weighting,
            eps=self.eps,
        )  # fmt: skip

    def refusal(self, module: nn.Module) -> str | None:
        """Why a layer cannot be converted, or None."""
        reason = why_not_plain(module)
        if reason is None and (taken := [name for name in _STATE if hasattr(module, name)]):
            reason = f"it has an attribute {taken[0]!r} of its own"
        return reason

    def became(self, module: nn.Module) -> str:
        """What the layer becomes, in words."""
        return f"{twin_class(module).__name__} {self.operator}"

    def note(self, module: nn.Module) -> str | None:
        """Nothing is lost."""
        return None

    @torch.no_grad()
    def apply(self, module: Any) -> nn.Module:
        """Convert a layer; returns itself."""
        plain, trained = plain_class(module), any(p.requires_grad for p in module.parameters())
        radius = self.radius if resolve_operator(self.operator).uses_radius else "relative"
        _change_class(module, twin_class(module))
        try:
            with _parametrizations_in_evaluation(module):  # spectral_norm would go on with its iteration
                module._init_operator(self.operator, radius, self.weighting, self.eps)
        except BaseException:
            to_plain(module)
            raise
        module.__dict__[_PLAIN] = plain
        for name in ("radius", "kappa"):
            if isinstance(parameter := getattr(module, name), nn.Parameter):
                parameter.requires_grad_(trained)
        return module


def plain_class(module: nn.Module) -> type:
    """The class of a module, without what parametrisations put in between."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def twin_class(module: nn.Module) -> type:
    """The class of a layer's decoupled twin.

    Raises:
        KeyError: it has none.
    """
    kind = plain_class(module)
    if (kind.__module__, kind.__name__) == _SAME:
        return DecoupledConv2dSame
    for base in kind.__mro__:
        if base in _TWINS:
            return _TWINS[base]
        if set(vars(base)) - _HARMLESS:
            break
    raise KeyError(kind)


def why_not_plain(module: nn.Module) -> str | None:
    """Why a layer is not one whose computation is known, or None."""
    kind = plain_class(module)
    if isinstance(module, DecoupledMixin):
        return "decoupled already"
    try:
        twin_class(module)
    except KeyError:
        return f"{kind.__module__}.{kind.__qualname__} computes in its own way"
    if "forward" in module.__dict__ or "_conv_forward" in module.__dict__:
        return "its forward was replaced on the object itself"
    with _parametrizations_in_evaluation(module), torch.no_grad():
        weight: Any = module.weight
    if not weight.is_floating_point():
        return f"its weight is of type {weight.dtype}"
    return None


def to_plain(module: Any) -> None:
    """Make a decoupled layer plain again, with its weight and bias as they are."""
    _change_class(module, plain_class_of(module))
    module.__dict__.pop(_PLAIN, None)
    for name in _STATE:
        for place in (module.__dict__, module._parameters, module._buffers):
            place.pop(name, None)


def plain_class_of(module: Any) -> type:
    """The class that a decoupled layer had, or would have as a plain one.

    Raises:
        ValueError: it has no plain twin.
    """
    if (known := module.__dict__.get(_PLAIN)) is not None:
        return known
    kind = plain_class(module)
    for plain, twin in _TWINS.items():
        if kind is twin:
            return plain
    raise ValueError(f"{kind.__qualname__} received, a layer with a plain twin needed")


@contextmanager
def as_plain(layers: list[Any]) -> Iterator[None]:
    """Let decoupled layers compute as plain ones for a while."""
    kinds = [plain_class(layer) for layer in layers]
    try:
        for layer in layers:
            _change_class(layer, plain_class_of(layer))
        yield
    finally:
        for layer, kind in zip(layers, kinds, strict=True):
            _change_class(layer, kind)


def _change_class(module: Any, kind: type) -> None:
    """Give a module another class; parametrisations keep the one they have put between."""
    if not is_parametrized(module):
        module.__class__ = kind
        return
    between = {
        k: v for k, v in vars(type(module)).items() if k not in _HARMLESS | {"__dict__", "__weakref__"}
    }
    module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), between)


@contextmanager
def _parametrizations_in_evaluation(module: Any) -> Iterator[None]:
    parts = list(module.parametrizations.modules()) if is_parametrized(module) else []
    modes = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
