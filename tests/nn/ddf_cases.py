"""The DDF module written out from the paper and the released code's arithmetic, by unfolding."""

from __future__ import annotations

import torch.nn.functional as F

#: Which branches a layer has.
BRANCHES = ["both", "spatial", "channel"]


def ddf_by_unfolding(x, channel, spatial, stride=(1, 1), dilation=(1, 1), combine="mul"):
    """(B, C, H, W), (B, C, kh, kw), (B, G·T, H', W') to (B, C, H', W'), one patch a position."""
    b, c = x.shape[:2]
    kernel = channel.shape[2:]
    padding = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
    patches = F.unfold(x, kernel, dilation, padding, stride).view(b, c, kernel.numel(), -1)
    heads = spatial.shape[1] // kernel.numel()
    of_pixel = spatial.view(b, heads, 1, kernel.numel(), -1).expand(-1, -1, c // heads, -1, -1)
    of_pixel = of_pixel.reshape(b, c, kernel.numel(), -1)
    of_channel = channel.reshape(b, c, kernel.numel(), 1)
    both = of_channel * of_pixel if combine == "mul" else of_channel + of_pixel
    return (both * patches).sum(2).view(b, c, *spatial.shape[2:])


def released_norm(filters, count, scale):
    """Standardise `count` filters that lie one after the other in dimension 1, with the released epsilon."""
    each = filters.view(filters.shape[0], count, -1, *filters.shape[2:])
    each = each - each.mean(2, keepdim=True)
    each = each / (each.std(2, keepdim=True) + 1e-10)
    return each.reshape(filters.shape) * scale


def released_module(x, state, prefix, stride=1, dilation=1, combine="mul", kernel=3):
    """The released module on its own state dict: gain sqrt(2)/k for spatial filters, ``std`` for channels."""
    at = lambda name: state[prefix + name]  # noqa: E731
    gain = 2**0.5 / kernel
    spatial = F.conv2d(x, at("spatial_branch.0.weight"), at("spatial_branch.0.bias"), stride=stride)
    spatial = released_norm(spatial, 1, gain)
    hidden = F.conv2d(
        x.mean((2, 3), keepdim=True), at("channel_branch.1.weight"), at("channel_branch.1.bias")
    ).relu()
    channel = F.conv2d(hidden, at("channel_branch.3.weight"), at("channel_branch.3.bias"))
    channel = released_norm(channel, x.shape[1], at("channel_branch.4.std").view(1, -1, 1, 1))
    channel = channel.view(*x.shape[:2], kernel, kernel)
    return ddf_by_unfolding(x, channel, spatial, (stride,) * 2, (dilation,) * 2, combine)
