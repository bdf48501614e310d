"""Joint depth upsampling: a depth map with few samples, an image with many.

B: batch, C: channels of the image, H, W: height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from .._metric import Metric
from ..data import BORDER, DataConfig, DepthData, Found, ImageData, describe_depth, load_depth
from ..models.config import NetworkConfig
from ..models.joint import OWN, extent
from ..networks import build_joint
from ._examples import Examples, deep_picture, picture
from .interpolations import Interpolations
from .task import Reduction, Task

_SHOWN = 4
_SIDE = 160  # pixels of what is shown of an image
_DIGITS = 10**6  # what is kept of an image are millionths of the unit
_MOST = 2**50


class Depth(Task):
    """The network gives depth (B, 1, H, W) for an image and a small map in one tensor (B, C + 1, H, W).

    Targets are (B, 2, H, W): depth, NaN where there is none, and the small map as the input has it. Of each
    image its RMSE is kept, in millionths of the data's unit, without a border.

    Args:
        classes: none.
        tile: height and width of the parts that validation and test images are seen in; None: whole.
    """

    name = "depth"
    about = "joint depth upsampling"
    metric = Metric("rmse", "RMSE", "units", "lower")
    model = OWN
    margin = 0.01
    half = False
    sections = ("depths", "interpolation")
    takes = ("scale", "degradation", "crop", "crops", "tile", "upsample")

    def __init__(self, classes: Sequence[str], tile: int | None = None) -> None:
        super().__init__(classes)
        self.tile = tile

    @classmethod
    def of(cls, data: ImageData) -> Self:
        """The task for these images, which are seen whole or in tiles."""
        assert isinstance(data, DepthData)
        return cls(data.classes, data.tile)

    @classmethod
    def load(cls, config: DataConfig) -> DepthData:
        """Images with depth maps; training images are cut and mirrored together with them."""
        return load_depth(config)

    @classmethod
    def describe(cls, config: DataConfig) -> Found:
        """What :meth:`load` finds."""
        return describe_depth(config)

    def network(self, config: NetworkConfig, operator: str, in_chans: int, **options: Any) -> nn.Module:
        """PAC-Net's shape with the configured upsampler; `options` have ``scale`` and ``offset``."""
        return build_joint(config, operator, in_chans, **options)

    def shape(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        """(1, H, W)."""
        return (1, *image_size)

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        reduction: Reduction = "mean",
    ) -> Tensor:
        """Mean squared error where there is depth; 1 is what a small map reaches from least to most."""
        truth, known = _known(targets)
        _, span = extent(targets[:, 1:])
        # A map of zeros alone reaches nowhere: no error can be told by it.
        counted = known & (targets[:, 1:].abs().amax((1, 2, 3), True) > 0)
        errors = (((outputs - truth) / span).where(counted, 0.0)).square()
        if reduction == "mean":
            return errors.sum() / counted.sum().clamp(min=1)
        return (errors.sum((1, 2, 3)) / counted.sum((1, 2, 3)).clamp(min=1)).sum()

    def outputs(self, network: nn.Module, images: Tensor) -> Tensor:
        """The maps (B, 1, H, W), made whole or in tiles; a compiled network's tiles are made without that."""
        if self.tile is None:
            return network(images)
        return network.tiled(images, self.tile)  # type: ignore[operator]

    def class_counts(self, data: ImageData) -> Tensor:
        """There are no classes."""
        return torch.zeros(0, dtype=torch.long)

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B, 1): RMSE in millionths."""
        truth, known = _known(inner(targets))
        squares = (inner(outputs).double() - truth).where(known, 0.0).square().sum((1, 2, 3))
        rmse = (squares / known.sum((1, 2, 3)).clamp(min=1)).sqrt()
        worst = _MOST / _DIGITS  # of a network that diverged
        return (rmse.nan_to_num(worst, worst).clamp(max=worst) * _DIGITS).round().long()[:, None]

    def value(self, totals: Tensor, images: float) -> float:
        """The mean over images of each one's RMSE."""
        return float(totals[0]) / _DIGITS / images if images else float("nan")

    def baselines(self, data: ImageData) -> dict[str, Tensor]:
        """Outcomes of interpolation and of joint bilateral upsampling, by name: (images, 1)."""
        assert isinstance(data, DepthData)
        ways = Interpolations(data.scale, data.degradation, self.tile)
        ways.choose(data.train_subset(8), self)
        found: dict[str, list[Tensor]] = {}
        for inputs, targets in data.test_loader(1):
            for name, outputs in ways(inputs).items():
                found.setdefault(name, []).append(self.outcomes(outputs, targets))
        return {name: torch.cat(some) for name, some in found.items()}

    @torch.no_grad()
    def examples(self, network: nn.Module, data: ImageData) -> Examples:
        """The middles of a few test images, of their maps, and of what the network makes of these."""
        device = next(network.parameters()).device
        given: dict[str, list[str]] = {"images": [], "small": [], "truth": [], "range": []}
        made = []
        network.eval()
        for index in (
            torch.linspace(0, data.test_size - 1, min(_SHOWN, data.test_size)).round().int().tolist()
        ):
            inputs, target = data.test_image(index)
            found = self.outputs(network, inputs.to(device))[0, 0].float().cpu()
            part = _middle(target.shape[-2:])
            truth = target[0][part]
            low, high = _range(truth)
            given["images"].append(picture(inputs[0, :-1][(slice(None), *part)]))
            given["range"].append(f"{low:g} {high:g}")
            for name, depth in (("small", target[1]), ("truth", target[0])):
                given[name].append(deep_picture(depth[part], low, high))
            made.append(deep_picture(found[part], low, high))
        return Examples(given, made)


def inner(maps: Tensor) -> Tensor:
    """Without the border that does not count."""
    return maps[..., BORDER:-BORDER, BORDER:-BORDER]


def _known(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Depth (B, 1, H, W), and where there is some."""
    truth = targets[:, :1]
    return truth.nan_to_num(), ~truth.isnan()


def _range(truth: Tensor) -> tuple[float, float]:
    """The values of what is shown, and a tenth more to both sides for errors."""
    low, high = (float(end) for end in truth[~truth.isnan()].aminmax())
    more = max(0.1 * (high - low), 1e-6)
    return low - more, high + more


def _middle(size: torch.Size) -> tuple[slice, slice]:
    starts = [max(0, (n - _SIDE) // 2) for n in size]
    return slice(starts[0], starts[0] + _SIDE), slice(starts[1], starts[1] + _SIDE)
