"""Convolutions as other people write them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class OtherMethods(nn.Conv2d):
    """Computes as its base, and has methods of its own."""

    @property
    def taps(self):
        return self.weight[0, 0].numel()

    @staticmethod
    def get_downsample_stride(stride):
        return stride, stride

    def extra_repr(self):
        return f"taps={self.taps}, {super().extra_repr()}"

    def reset_parameters(self):
        nn.init.constant_(self.weight, 0.5)
        nn.init.constant_(self.bias, 0.25)


class Wrapper(nn.Conv2d):
    """Has a forward of its own that does nothing else, as long as it has no norm."""

    norm = None

    def forward(self, x):
        x = super().forward(x)
        return x if self.norm is None else self.norm(x)


class ByProperty(nn.Conv2d):
    """Makes its weight from another whenever it is asked for."""

    def __init__(self, *args):
        super().__init__(*args)
        self.raw = nn.Parameter(self._parameters.pop("weight").detach())

    @property
    def weight(self):
        if "raw" not in self._parameters:
            raise AttributeError("weight")  # the base's constructor is still at work
        return self.raw - self.raw.mean()


class DynamicSame(nn.Conv2d):
    """As EfficientNet-PyTorch pads where it does not know the size."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, dilation=1, groups=1, bias=True):
        super().__init__(in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias)
        self.stride = self.stride if len(self.stride) == 2 else [self.stride[0]] * 2

    def forward(self, x):
        return F.conv2d(
            F.pad(x, sides(self, x.shape[-2:])),
            self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups,
        )  # fmt: skip


class StaticSame(nn.Conv2d):
    """As EfficientNet-PyTorch pads where it does."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, image_size=None, **options):
        super().__init__(in_channels, out_channels, kernel_size, stride, **options)
        self.static_padding = nn.ZeroPad2d(sides(self, (image_size, image_size)))

    def forward(self, x):
        x = self.static_padding(x)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def sides(conv, size):
    missing = [
        max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, s, k, d in zip(size, conv.stride, conv.kernel_size, conv.dilation, strict=True)
    ]
    return [side for m in reversed(missing) for side in (m // 2, m - m // 2)]


class FixedSides(nn.Conv2d):
    """Pads as TensorFlow does for some sizes only."""

    def forward(self, x):
        return super().forward(F.pad(x, (0, 1, 1, 1)))


class Standardized(nn.Conv2d):
    """Weight standardisation, with the name of eps taken."""

    def __init__(self, *args):
        super().__init__(*args)
        self.eps = 1e-3

    def forward(self, x):
        flat = self.weight.flatten(1)
        variance, mean = torch.var_mean(flat, dim=1, keepdim=True, correction=0)
        weight = ((flat - mean) / (variance + self.eps).sqrt()).reshape_as(self.weight)
        return self._conv_forward(x, weight, self.bias)


class Scaled(nn.Conv2d):
    """Scaled weight standardisation, with the names of eps and scale taken."""

    def __init__(self, *args):
        super().__init__(*args)
        self.scale, self.eps = 0.3, 1e-6
        self.gain = nn.Parameter(torch.rand(self.out_channels, 1, 1, 1) + 0.5)

    def forward(self, x):
        weight = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1), None, None,
            weight=(self.gain * self.scale).view(-1), training=True, momentum=0.0, eps=self.eps,
        ).reshape_as(self.weight)  # fmt: skip
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Masked(nn.Conv2d):
    """Sees one half of its window."""

    def __init__(self, *args):
        super().__init__(*args)
        mask = torch.ones_like(self.weight)
        mask[..., self.kernel_size[1] // 2 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x):
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class Noisy(nn.Conv2d):
    """Draws random numbers, and counts."""

    count = 0

    def forward(self, x):
        self.count += 1
        return super().forward(x + 0.1 * torch.randn_like(x))


class OtherwiseInTraining(nn.Conv2d):
    """Is a convolution in evaluation only."""

    def forward(self, x):
        return super().forward(x.clamp(max=1.0) if self.training else x)


class Constrained(nn.Conv2d):
    """Changes its own weight in its forward pass."""

    def forward(self, x):
        self.weight.data = torch.renorm(self.weight.data, p=2, dim=0, maxnorm=1.0)
        return super().forward(x)


class TwoInputs(nn.Conv2d):
    """Is a convolution as long as nobody gives the other one."""

    def forward(self, x, mask=None):
        return super().forward(x if mask is None else x * mask)


class Named(nn.Conv2d):
    """Has an attribute that a decoupled layer needs."""

    radius = 3
