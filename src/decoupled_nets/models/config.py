"""What the user says about the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from .._options import check_choices
from ..nn.upsamplers import upsamplers
from ..ops.decoupled.operator import Weighting
from .ddf_resnet import VARIANTS


@dataclass(frozen=True)
class NetworkConfig:
    """The network, but for its operator.

    Args:
        model: The network: one of our own by name, `timm:NAME`, `torchvision:NAME`, `smp:ARCH:ENCODER`, a
            folder of `save_pretrained` (or its name on the Hugging Face Hub, with `download`), or
            `FILE.py:FUNCTION`, called with num_classes and in_chans. Without it the task's own. Behind
            torchvision's detectors, `:weights_backbone=DEFAULT` has `pretrained` take weights of the backbone
            alone, and `trainable_backbone_layers=2` (after a comma) trains that many of its layers.
        width: Multiplies the network's channel counts.
        batch_norm: BatchNorm after the convolutions.
        relu: ReLU after the convolutions.
        features: Size of the layer before the classifier; 2 makes it a picture. Without it the network's own.
        radius: Radius of decoupled convolutions: `relative` (learned, in units of the mean patch norm),
            `learned` (absolute) or a number.
        weighting: How the norm of a kernel counts: not at all, `linear`, `product` (Eq. 15), `separate` (16).
        squeeze_ratio: σ of dynamic filters: the share of the channels that the channel branch squeezes them
            to, 0.2 in the paper. Without it the network's own (`ddf_resnet18` has 0.5).
        select: Which layers of a network that is not built with its operator are converted: globs of names
            (`layer3.*`), `kernel_size=3` (or `1x7`, or `any`), `stages=3`, and the words `shortcuts`,
            `depthwise`, `outputs` and `linear`, separated by commas. By default convolutions larger than 1×1,
            but not shortcuts, depth-wise ones and those that give the outputs.
        pretrained: Start from the library's own weights, fetched with `download` if they are not here.
        weights: Start from the weights of a file (safetensors, .pth, .ckpt), of a run's folder or of a folder
            of `save_pretrained`.
        start: How decoupled layers start: `calibrated` on training images, to answer as the plain network
            does, or `converted`, with the same kernels and no more. Without it calibrated where there are
            weights.
        upsample: How the network makes its maps larger (not in classification): `nearest`, `bilinear`,
            `transposed`, `pixelshuffle`, `carafe`, `dysample`, `pac`, `ddf` or `ddf-bilinear`, in place of
            its own way. Without it `joint` (depth) has `ddf`, and a saved network what it was saved with.
        plugin: Python file or module that registers operators; imported first.

    Raises:
        ValueError: there is no such choice.
    """

    model: str = ""
    width: float = 1.0
    batch_norm: bool = True
    relu: bool = True
    features: int | None = None
    radius: float | Literal["relative", "learned"] = "relative"
    weighting: Weighting | None = None
    squeeze_ratio: float | None = None
    select: str | None = None
    pretrained: bool = False
    weights: str | None = None
    start: Literal["calibrated", "converted"] | None = None
    upsample: str | None = None
    plugin: str | None = None

    def __post_init__(self) -> None:
        check_choices(self)
        if self.features is not None and self.features < 1:
            raise ValueError(f"features = {self.features} received; needed: at least 1")
        if self.upsample is not None:
            upsamplers[self.upsample]  # refuses what is none
        if self.squeeze_ratio is not None and not 0 < self.squeeze_ratio < math.inf:
            raise ValueError(f"squeeze_ratio = {self.squeeze_ratio} received; needed: a positive number")

    def network_arguments(self) -> dict[str, Any]:
        """The options of the network's builder."""
        names: tuple[str, ...] = ("width", "batch_norm", "relu", "radius", "weighting")
        names += ("squeeze_ratio",) if self.model in VARIANTS else ()
        names += () if self.features is None else ("features",)
        return {name: getattr(self, name) for name in names}
