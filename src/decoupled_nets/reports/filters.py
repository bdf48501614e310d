"""Filters that a network generates for an image, ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..nn.ddf import DDF2d


@dataclass(frozen=True)
class GeneratedFilters:
    """The filters of one layer for one image, at a few pixels and in a few channels.

    Args:
        layer: name of the layer.
        combine: ``"mul"`` or ``"add"``.
        image: (C, H, W), pixels in [0, 1].
        maps: the first head's spatial filters everywhere, (kh, kw, H', W').
        positions: rows and columns of the pixels shown, in the layer's output (N, 2).
        spatial: their filters (N, kh, kw).
        channels: numbers of the channels shown (M).
        channel: their filters (M, kh, kw).
        combined: what each channel is filtered with at each pixel (M, N, kh, kw).
    """

    layer: str
    combine: str
    image: Tensor
    maps: Tensor
    positions: Tensor
    spatial: Tensor
    channels: Tensor
    channel: Tensor
    combined: Tensor


@torch.no_grad()
def generated_filters(
    network: nn.Module, image: Tensor, layer: str | None = None, positions: int = 5, channels: int = 4
) -> GeneratedFilters:
    """Run the network on an image, in evaluation mode, and keep what a layer of dynamic filters generates.

    The network is left in the mode it was in. Shown are the pixels, and the channels, whose filters differ
    most from each other; of several heads the first.

    Args:
        network: from (1, C, H, W) to anything.
        image: (C, H, W), what the network takes.
        layer: name of a :class:`decoupled_nets.DDF2d`; None takes the first.
        positions: how many pixels.
        channels: how many channels.

    Raises:
        ValueError: the network has no such layer, or does not call it.
    """
    found = {name: module for name, module in network.named_modules() if isinstance(module, DDF2d)}
    if not found:
        raise ValueError("a network without dynamic filters received; needed: DDF2d layers (--operator ddf)")
    name = next(iter(found)) if layer is None else layer
    if name not in found:
        raise ValueError(f"layer = {layer!r} received; needed: one of {', '.join(found)}")
    filters = found[name]
    per_channel, per_pixel = _filters_in(network, filters, image)
    per_channel = per_channel[0, : filters.channels // filters.heads]
    maps = per_pixel[0].unflatten(0, (-1, *filters.kernel_size))[0]  # (kh, kw, H', W')
    flat = maps.flatten(2).permute(2, 0, 1)  # (H'·W', kh, kw)
    at, chosen = most_different(flat, positions), most_different(per_channel, channels)
    spatial, channel = flat[at], per_channel[chosen]
    product = filters.combine == "mul" or filters.branches != "both"
    pair = spatial.unsqueeze(0), channel.unsqueeze(1)
    places = torch.stack([at // maps.shape[3], at % maps.shape[3]], 1)
    return GeneratedFilters(
        name, "mul" if product else "add", image, maps, places, spatial, chosen, channel,
        pair[0] * pair[1] if product else pair[0] + pair[1],
    )  # fmt: skip


def _filters_in(network: nn.Module, layer: DDF2d, image: Tensor) -> tuple[Tensor, Tensor]:
    """What `layer` generates when the network sees the image."""
    modes = {module: module.training for module in network.modules()}
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        network.eval()(image.unsqueeze(0))
        if not seen:
            raise ValueError("a network that does not call the layer received; needed: one that does")
        return layer.filters(seen[0])
    finally:
        handle.remove()
        for module, training in modes.items():
            module.training = training


def most_different(items: Tensor, count: int) -> Tensor:
    """Indices of `count` items (all, if there are fewer): the largest, then always the one farthest from all.

    Args:
        items: (N, ...).
        count: at least 1.

    Example:
        >>> import torch
        >>> most_different(torch.tensor([[0.0], [5.0], [4.0], [-3.0]]), 3)
        tensor([1, 3, 0])
    """
    flat = items.flatten(1)
    chosen = [int(flat.square().sum(1).argmax())]
    farthest = flat.new_full((len(flat),), torch.inf)
    while len(chosen) < min(count, len(flat)):
        farthest = torch.minimum(farthest, (flat - flat[chosen[-1]]).square().sum(1))
        farthest[chosen] = -1
        chosen.append(int(farthest.argmax()))
    return torch.tensor(chosen)
