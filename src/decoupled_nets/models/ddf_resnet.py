"""Residual networks of decoupled dynamic filters, built on timm's ResNet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ..nn.ddf import Branches
from ..nn.filter_norm import Norm
from ..nn.operator import Radius
from ..nn.start import Init
from ..ops.decoupled.operator import Operator, Weighting
from ..ops.dynamic.functional import Combine
from .registry import register_model
from .spatial import SpatialConvolution

CHANNELS = (64, 128, 256, 512)
IMAGENET = {
    "num_classes": 1000, "input_size": (3, 224, 224), "pool_size": (7, 7), "crop_pct": 0.875,
    "interpolation": "bicubic", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
    "first_conv": "conv1", "classifier": "fc",
}  # fmt: skip
SMALL_IMAGES = {
    **IMAGENET, "num_classes": 10, "input_size": (3, 32, 32), "pool_size": (4, 4), "crop_pct": 1.0,
    "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25),
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One architecture: blocks of the stages, and what is particular about its filters."""

    layers: tuple[int, int, int, int]
    combine: Combine | None = None
    squeeze_ratio: float = 0.2
    basic: bool = False
    small: bool = False

    @property
    def filters(self) -> dict[str, Any]:
        """Options of ``DDF2d`` that belong to the architecture."""
        named = {} if self.combine is None else {"combine": self.combine}
        return {**named, "squeeze_ratio": self.squeeze_ratio}

    @property
    def usual(self) -> dict[str, Any]:
        """Options of ``DDF2d`` unless others are asked for: those of the published weights and counts."""
        return {} if self.small else {"norm": "filter"}

    @property
    def fixed(self) -> dict[str, Any]:
        """Options of timm's that the architecture leaves no choice of."""
        stem = {"stem_type": "", "replace_stem_pool": False} if self.small else {}
        return {**stem, **({"cardinality": 1, "base_width": 64} if self.basic else {})}

    @property
    def default_cfg(self) -> dict[str, Any]:
        """What timm wants to know of the network's input and classifier."""
        return SMALL_IMAGES if self.small else IMAGENET


VARIANTS = {
    "ddf_mul_resnet50": Variant((3, 4, 6, 3), "mul"),
    "ddf_mul_resnet101": Variant((3, 4, 23, 3), "mul"),
    "ddf_mul_resnet152": Variant((3, 8, 36, 3), "mul"),
    "ddf_add_resnet50": Variant((3, 4, 6, 3), "add"),
    "ddf_add_resnet101": Variant((3, 4, 23, 3), "add"),
    "ddf_add_resnet152": Variant((3, 8, 36, 3), "add"),
    "ddf_resnet18": Variant((2, 2, 2, 2), squeeze_ratio=0.5, basic=True),
    "ddf_cifar_resnet26": Variant((2, 2, 2, 2), small=True),
}


def ddf_resnet(
    name: str,
    num_classes: int = 1000,
    in_chans: int = 3,
    *,
    operator: Operator | str = "ddf",
    squeeze_ratio: float | None = None,
    heads: int | None = None,
    norm: Norm | None = None,
    branches: Branches | None = None,
    init: Init | None = None,
    radius: Radius = "relative",
    weighting: Weighting | None = None,
    width: float = 1.0,
    batch_norm: bool = True,
    relu: bool = True,
    features: int | None = None,
    **options: Any,
) -> nn.Module:
    """A ResNet with decoupled dynamic filters for the 3×3 convolutions of its blocks.

    The result is an instance of timm's ``ResNet``. By default filters are normalised with a sane epsilon and,
    in the networks for ImageNet, with the released code's parameters (a learned scale a tap for channel
    filters, none for spatial ones): the parameter counts are then the published ones, and the filters start
    at random as the released code's. ``norm="paper"`` gives them the paper's scale and shift, and with these
    the start that trains better. ``ddf_cifar_resnet26``, of which nothing was published, has it by default.

    Args:
        name: the architecture, one of ``VARIANTS``.
        num_classes: outputs; 0 gives the features.
        in_chans: input channels.
        operator: what stands for the 3×3 convolutions: ``"ddf"``; its variants ``"ddf-mul"``, ``"ddf-add"``,
            ``"ddf-spatial"``, ``"ddf-channel"``, ``"ddf-paper"``, ``"ddf-filter"``, ``"ddf-batch"``,
            ``"ddf-sigmoid"``; for comparison ``"dw"`` (depth-wise), ``"conv"`` (plain) or a decoupled
            operator.
        squeeze_ratio: σ of :class:`decoupled_nets.DDF2d`; None takes the architecture's.
        heads: G, likewise; None is the operator's own, as for the next three.
        norm: likewise.
        branches: likewise.
        init: likewise: what the filters start as.
        radius: of decoupled operators.
        weighting: likewise.
        width: multiplies the blocks' channels; the stem keeps 64.
        batch_norm: must be True.
        relu: ReLU, or no activation at all.
        features: size of a linear layer before the classifier; None for none.
        **options: timm's: ``drop_rate``, ``drop_path_rate``, ``output_stride`` (8, 16 or 32; of networks for
            small images 2, 4 or 8), ``features_only``, ``out_indices``, ``global_pool``, ``stem_type``, ...

    Raises:
        ValueError: an option is out of range, or contradicts the operator or another option.
        ImportError: timm is not installed.

    Source: J. Zhou et al., "Decoupled Dynamic Filter Networks", CVPR 2021, sections 3.3 and 4.1.
    """
    from .residual import Form, build  # timm is imported by those who build its networks

    variant = VARIANTS[name]
    if not batch_norm:
        raise ValueError(
            f"batch_norm = False received; needed: batch_norm = True; {name} is not stable without it"
        )
    channels = tuple(round(c * width) for c in CHANNELS)
    if min(channels) < 1 or (features is not None and features < 1):
        raise ValueError(f"width = {width} and features = {features} received; needed: at least 1 channel")
    if not relu and "act_layer" in options:
        raise ValueError(
            f"relu = False and act_layer = {options['act_layer']!r} received; needed: one of them"
        )
    for option, value in variant.fixed.items():
        if options.get(option, value) != value:
            raise ValueError(f"{option} = {options[option]!r} received; needed: {value!r} for {name}")
    filters = {
        "squeeze_ratio": squeeze_ratio,
        "heads": heads,
        "norm": norm,
        "branches": branches,
        "init": init,
    }
    asked = {option: value for option, value in filters.items() if value is not None}
    spatial = SpatialConvolution(operator, variant.filters, variant.usual, asked, radius, weighting)
    cfg = options.pop("pretrained_cfg", None) or {**variant.default_cfg, "architecture": name}
    options = {
        "num_classes": num_classes, "in_chans": in_chans, "layers": variant.layers, "channels": channels,
        **({} if relu else {"act_layer": nn.Identity}), **options,
    }  # fmt: skip
    return build(name, variant.basic, Form(spatial, variant.small, features), cfg, options)


@register_model
def ddf_mul_resnet50(**options: Any) -> nn.Module:
    """DDF-ResNet-50, filters multiplied: 16,843,748 parameters; options as in :func:`ddf_resnet`."""
    return ddf_resnet("ddf_mul_resnet50", **options)


@register_model
def ddf_mul_resnet101(**options: Any) -> nn.Module:
    """DDF-ResNet-101, filters multiplied: 28,146,912 parameters; options as in :func:`ddf_resnet`."""
    return ddf_resnet("ddf_mul_resnet101", **options)


@register_model
def ddf_mul_resnet152(**options: Any) -> nn.Module:
    """DDF-ResNet-152, filters multiplied: 37.46 million parameters; options as in :func:`ddf_resnet`."""
    return ddf_resnet("ddf_mul_resnet152", **options)


@register_model
def ddf_add_resnet50(**options: Any) -> nn.Module:
    """DDF-ResNet-50, filters added; options as in :func:`ddf_resnet`."""
    return ddf_resnet("ddf_add_resnet50", **options)


@register_model
def ddf_add_resnet101(**options: Any) -> nn.Module:
    """DDF-ResNet-101, filters added; options as in :func:`ddf_resnet`."""
    return ddf_resnet("ddf_add_resnet101", **options)


@register_model
def ddf_add_resnet152(**options: Any) -> nn.Module:
    """DDF-ResNet-152, filters added; options as in :func:`ddf_resnet`."""
    return ddf_resnet("ddf_add_resnet152", **options)


@register_model
def ddf_resnet18(**options: Any) -> nn.Module:
    """DDF-ResNet-18, our reading: a DDF and a 1×1 convolution for every 3×3 one, σ = 0.5, 7.69 million.

    The paper reports such a network (7.7 million parameters), but neither describes it nor released its code;
    a basic block has no 1×1 convolution that would mix channels. Options as in :func:`ddf_resnet`.
    """
    return ddf_resnet("ddf_resnet18", **options)


@register_model
def ddf_cifar_resnet26(**options: Any) -> nn.Module:
    """A ResNet of 26 layers for images of about 32²; options as in :func:`ddf_resnet`.

    Ours, for comparisons on small images: a 3×3 stem without pooling, then four stages of two bottlenecks, as
    wide as a ResNet-50's. At an eighth of its `width` it suits a processor.
    """
    return ddf_resnet("ddf_cifar_resnet26", **options)
