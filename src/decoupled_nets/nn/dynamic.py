"""Dynamic filters in the place of convolutions: the variants by name, and one like a convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from .ddf import DDF2d

#: Variants by the options of :class:`DDF2d` that they set; the paper's ablation (Table 3) is among them.
#: ``ddf-paper`` and ``ddf-filter`` start as random filters, the one with the paper's normalisation and the
#: other with the released code's.
DDF_VARIANTS: dict[str, dict[str, Any]] = {
    "ddf": {},
    "ddf-mul": {"combine": "mul"},
    "ddf-add": {"combine": "add"},
    "ddf-spatial": {"branches": "spatial"},
    "ddf-channel": {"branches": "channel"},
    "ddf-paper": {"norm": "paper", "branches": "both", "init": "random"},
    "ddf-filter": {"norm": "filter"},
    "ddf-batch": {"norm": "batch"},
    "ddf-sigmoid": {"norm": "sigmoid"},
}


def takes_squeeze_ratio(operator: object) -> bool:
    """Whether `operator` names dynamic filters with a channel branch, which σ is about."""
    return operator in DDF_VARIANTS and DDF_VARIANTS[str(operator)].get("branches") != "spatial"


def variant_options(variant: str, options: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    """The options of a variant, with others beside them.

    Args:
        variant: a key of :data:`DDF_VARIANTS`.
        options: others of :class:`DDF2d`.
        source: whose they are, for the message of an error.

    Raises:
        ValueError: one of them contradicts the variant.
    """
    for name, value in DDF_VARIANTS[variant].items():
        if options.get(name, value) != value:
            raise ValueError(
                f"operator {variant!r} and {name} = {options[name]!r}{source} received; needed: "
                f"{name} = {value!r} or operator 'ddf'"
            )
    return {**options, **DDF_VARIANTS[variant]}


def variant_of(options: Mapping[str, Any]) -> str:
    """The variant whose options a DDF2d has; ``ddf`` where no other name says more.

    Args:
        options: of the layer, as it tells them.
    """
    usual = DDF2d(1, device="meta").options()
    named = [
        name
        for name, own in DDF_VARIANTS.items()
        if all(options[key] == value for key, value in own.items())
        and any(value != usual[key] for key, value in own.items())
    ]
    return named[0] if len(named) == 1 else "ddf"


def made_like(layer: nn.Module) -> dict[str, Any]:
    """Device and type of a layer's weight, as constructors take them."""
    return {"device": layer.weight.device, "dtype": layer.weight.dtype}


def filters_like(conv: nn.Conv2d, options: Mapping[str, Any], bias: bool = False) -> DDF2d:
    """Dynamic filters of a convolution's input channels, size, stride and dilation, on its device."""
    return DDF2d(
        conv.in_channels,
        conv.kernel_size,
        conv.stride,
        conv.dilation,
        **options,
        bias=bias,
        **made_like(conv),
    )
