"""Inputs to try a network with: random images of the sizes that it may be meant for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

#: Enough for maps of several pixels at the end of most networks, where poolings differ; then the usual ones.
_USUAL = (128, 224, 256, 299, 384, 512, 32)
_BATCH = 2
#: Frames of a clip; stems halve them up to three times.
_FRAMES = 8


def candidates(network: nn.Module, recipe: dict[str, Any]) -> Iterator[tuple[Tensor]]:
    """Batches of images in [0, 1], or of clips, of the network's type, the likeliest first.

    Args:
        network: what is known of its input is read from the configuration that timm's tools read, too.
        recipe: as in :func:`decoupled_nets.hub.recipe.recipe_of`.
    """
    arguments = recipe["arguments"]
    cfg = next((c for m in network.modules() if (c := _cfg(m))), {})
    channels, *native = cfg.get("input_size") or (3,)
    channels = int(arguments.get("in_chans", channels))
    sizes: list[tuple[int, int]] = []
    for name in ("img_size", "image_size"):  # of vision transformers
        if (size := arguments.get(name)) is not None:
            sizes.append(tuple(size) if isinstance(size, list | tuple) else (size, size))
    if native:
        small = (_USUAL[0],) * 2 if min(native) > _USUAL[0] else (native[0], native[1])
        sizes += [(native[0], native[1])] if cfg.get("fixed_input_size") else [small, (native[0], native[1])]
    sizes += [(size, size) for size in _USUAL]
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)), None)
    before = (_FRAMES,) if isinstance(first, nn.Conv3d) else ()
    generator = torch.Generator("cpu").manual_seed(0)
    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    for height, width in dict.fromkeys(sizes):
        yield (torch.rand(_BATCH, channels, *before, height, width, generator=generator).to(dtype),)


def _cfg(module: nn.Module) -> dict[str, Any]:
    cfg = getattr(module, "pretrained_cfg", None)
    return dict(cfg if isinstance(cfg, dict) else getattr(cfg, "__dict__", None) or {})
