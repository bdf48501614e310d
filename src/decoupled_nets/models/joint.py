"""Joint upsampling: a map with few samples, and an image of the same scene that shows where its edges are.

B: batch, C: channels of the image, s: scale, h, w: height and width of the small map, H = s·h, W = s·w.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn.upsamplers import is_guided, upsampler
from ..ops.resample import hold, interpolate_at
from ..ops.tiles import in_tiles

OWN = "joint"
UPSAMPLER = "ddf"  # its own, where no other is asked for
MARGIN = 16  # samples around a tile: more than what the network sees of them
_CHANNELS, _GUIDANCE = 32, 16
_SLOPE = 0.1
_LEAST_SPAN = 0.01  # of the largest depth: of a map that hardly varies


class JointUpsampler(nn.Module):
    """PAC-Net's shape with an upsampler by name; with ``ddf`` it is DDF-Up-Net.

    Three 5×5 convolutions of the small map, three of the image; a 2× upsampler and a LeakyReLU an octave,
    each guided by its own channels of the image's branch; two 5×5 convolutions. What comes out is added to
    the bicubic interpolation of the small map with known sample positions, from which the network starts.
    Scales that are no power of two have an upsampler for each prime factor. The map is brought to 0 … 1 by
    its own smallest and largest value, and what comes out back to its unit.

    Two things are not the papers': kernels start as He et al. (2015) have it, and below 0 a LeakyReLU has the
    slope 0.1 where they have ReLU, behind which upsamplers without guidance tend to stop learning.

    Args:
        scale: s.
        offset: place of a sample, in rows and columns, among the s × s pixels that it stands for; by default
            that of picked ones, (s − 1)//2.
        upsample: name of an upsampler. One that looks at no guidance is followed by a 3×3 convolution of its
            output and the guidance.
        in_chans: channels of image and map together, C + 1.
        width: multiplies the channels, 32 of the map's and 16 an octave of the image's branch.
        relu: LeakyReLU between the convolutions and behind upsamplers.
        zeros: whether 0 said that there is no depth in the maps that it was trained on, which were filled
            there; kept for whoever reads maps for it. None: that is not known.

    Shape:
        Image and map in one tensor, (B, C + 1, H, W), every sample of the map s × s times, to (B, 1, H, W).

    Raises:
        ValueError: a scale below 2, no image, a width that is no positive number, or an unknown upsampler.

    Source: H. Su et al., "Pixel-Adaptive Convolutional Neural Networks", CVPR 2019, section 4.1; J. Zhou et
    al., "Decoupled Dynamic Filter Networks", CVPR 2021, section 5.3.
    """

    def __init__(
        self,
        scale: int,
        offset: float | None = None,
        upsample: str = UPSAMPLER,
        in_chans: int = 4,
        width: float = 1.0,
        relu: bool = True,
        zeros: bool | None = None,
    ) -> None:
        super().__init__()
        if isinstance(scale, bool) or not isinstance(scale, int) or scale < 2:
            raise ValueError(f"scale = {scale!r} received; needed: a whole number from 2 on")
        if in_chans < 2:
            raise ValueError(f"in_chans = {in_chans} received; needed: an image's channels and one for depth")
        if not width > 0 or not math.isfinite(width):
            raise ValueError(f"width = {width} received; needed: a positive number")
        self.scale, self.in_chans, self.zeros = scale, in_chans, zeros
        self.offset = float((scale - 1) // 2) if offset is None else float(offset)
        steps, self.relu = _factors(scale), relu
        c, g = (max(4, round(n * width)) for n in (_CHANNELS, _GUIDANCE))
        self.target = self._convolutions([1, c, c, c])
        self.guide = self._convolutions([in_chans - 1, c, c, g * len(steps)])
        self.steps = nn.ModuleList(_Step(upsample, c, g, step) for step in steps)
        self.tail = self._convolutions([c, c, 1])
        nn.init.zeros_(self.tail[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.tail[-1].bias)  # type: ignore[arg-type]

    def _convolutions(self, channels: list[int]) -> nn.Sequential:
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [nn.LeakyReLU(_SLOPE)] if layers and self.relu else []
            layers.append(conv := nn.Conv2d(before, after, 5, padding=2))
            # torch's own start shrinks what passes, until rectified biases are all that is left of it.
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        return nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C + 1, H, W) to (B, 1, H, W).

        Raises:
            ValueError: another number of channels, a size that is no multiple of the scale, or inputs of half
                precision, which rounds depth; autocast does not.
        """
        smooth, unit, span = self._start(inputs)
        return smooth + span * self._detail(inputs[:, :-1], unit).to(smooth)

    def tiled(self, inputs: Tensor, tile: int) -> Tensor:
        """As :meth:`forward`, in parts of at most `tile` × `tile` pixels and a margin, for lack of memory.

        Where an upsampler looks at a few pixels around, the result is that of the whole. Dynamic filters also
        look at the mean of all they are given: with them parts differ a little from the whole.

        Raises:
            ValueError: as :meth:`forward`, or a tile smaller than the scale.
        """
        s = self.scale
        if tile < s:
            raise ValueError(f"tile = {tile} received; needed: at least the scale, {s}")
        smooth, unit, span = self._start(inputs)

        def detail(rows: slice, columns: slice) -> Tensor:
            small = [slice(part.start // s, part.stop // s) for part in (rows, columns)]
            return self._detail(inputs[:, :-1, rows, columns], unit[:, :, small[0], small[1]]).to(smooth)

        size = inputs.shape[-2], inputs.shape[-1]
        return smooth + span * in_tiles(detail, size, tile // s * s, MARGIN * s)

    def _start(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The interpolation, the small map in 0 … 1, and what 1 is in the map's unit."""
        channels, height, width = inputs.shape[-3:]
        if channels != self.in_chans or height % self.scale or width % self.scale:
            raise ValueError(
                f"inputs of {channels} channels, {height}×{width} received; needed: {self.in_chans}"
                f" channels, an image and a map, and multiples of {self.scale}"
            )
        if inputs.dtype in (torch.float16, torch.bfloat16):
            raise ValueError(
                f"inputs of {inputs.dtype} received; needed: float32, as depth has more digits than that;"
                " torch.autocast computes what it can in half precision"
            )
        first = self.scale // 2
        depth = inputs[:, -1:, first :: self.scale, first :: self.scale]
        low, span = extent(depth)
        return interpolate_at(depth, self.scale, self.offset, "bicubic"), (depth - low) / span, span

    def _detail(self, image: Tensor, unit: Tensor) -> Tensor:
        """What is added to the interpolation, in 0 … 1."""
        x, guidance = self.target(unit), self.guide(image)
        for step, own in zip(self.steps, guidance.chunk(len(self.steps), 1), strict=True):
            x = step(x, own)
            x = F.leaky_relu(x, _SLOPE) if self.relu else x
        return self.tail(x)

    def held(self, depth: Tensor) -> Tensor:
        """A small map (..., h, w) as the network takes it, beside an image: (..., H, W)."""
        return hold(depth, self.scale)


class _Step(nn.Module):
    """An upsampler with its guidance, which is averaged to the size that comes out.

    Those that look at no guidance themselves get it by concatenation and a convolution.
    """

    def __init__(self, name: str, channels: int, guidance: int, scale: int) -> None:
        super().__init__()
        with torch.device("meta"):  # only to ask it
            own = is_guided(upsampler(name, channels, scale, guidance))
        self.up = upsampler(name, channels, scale, guidance if own else None)
        self.mix = None if own else nn.Conv2d(channels + guidance, channels, 3, padding=1)
        self.scale = scale

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        size = self.scale * x.shape[-2], self.scale * x.shape[-1]
        guidance = F.avg_pool2d(guidance, guidance.shape[-1] // size[1])
        if self.mix is None:
            return self.up(x, guidance)
        return self.mix(torch.cat([self.up(x), guidance], 1))


def _factors(scale: int) -> list[int]:
    """Prime factors, the smallest first."""
    found, factor = [], 2
    while scale > 1:
        while scale % factor == 0:
            found.append(factor)
            scale //= factor
        factor += 1
    return found


def extent(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest value of each map (B, 1, h, w), and its reach, which is never 0: (B, 1, 1, 1) each."""
    low, high = depth.amin((1, 2, 3), True), depth.amax((1, 2, 3), True)
    floor = _LEAST_SPAN * torch.maximum(low.abs(), high.abs())
    return low, (high - low).maximum(floor).clamp(min=torch.finfo(depth.dtype).tiny ** 0.5)
