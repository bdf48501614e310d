"""The cosines between patches and kernels of trained networks, and how straight angular functions are there.

    python scripts/cosines.py runs/mine/best.ckpt [more checkpoints] [--data sample] [--images 200]

Prints a table, a row for every convolution: 99 of 100 cosines are below the number in the third column, and
the last columns say which part of the variance of g(cosine) a straight line through 0 explains.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decoupled_nets.data import DataConfig, load_data
from decoupled_nets.ops.decoupled.angle import angles
from decoupled_nets.training import load_network

ANGLES = ("linear", "sigmoid", "sqcos")
MOST = 200_000  # cosines of a layer that are kept


def cosines(network: nn.Module, images: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Names of convolutions, and the cosines between their kernels and the patches that they meet."""
    found: dict[str, Tensor] = {}

    def watch(name: str, layer: nn.Conv2d) -> None:
        def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            place = (layer.stride, layer.padding, layer.dilation)
            kernel = layer.weight.detach()
            product = F.conv2d(given[0], kernel, None, *place, layer.groups)
            ones = torch.ones(layer.groups, *kernel.shape[1:])
            square = F.conv2d(given[0] ** 2, ones, None, *place, layer.groups)
            square = square.repeat_interleave(kernel.shape[0] // layer.groups, 1)
            norms = kernel.flatten(1).norm(dim=1)[:, None, None] * square.sqrt()
            some = (product / norms)[norms > 0].flatten()
            found[name] = some[torch.randperm(len(some), generator=torch.Generator().manual_seed(0))[:MOST]]

        layer.register_forward_hook(hook)

    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
            watch(name, layer)
    with torch.no_grad():
        network(images)
    yield from found.items()


def straightness(cosine: Tensor, angle: str) -> float:
    """The part of the variance of g(cosine) that the best straight line through 0 explains (R²)."""
    cosine = cosine.double()
    g = angles[angle].fn(cosine, *([torch.tensor(0.3)] if angles[angle].uses_k else []))
    line = cosine * ((g * cosine).sum() / (cosine**2).sum())
    return float(1 - ((g - line) ** 2).sum() / (g**2).sum())


def row(name: str, cosine: Tensor) -> str:
    """A line of the table."""
    straight = (f"{straightness(cosine, angle):.5f}" for angle in ANGLES)
    quantile = float(cosine.abs().quantile(0.99))
    return f"| `{name}` | {float(cosine.abs().median()):.3f} | {quantile:.3f} | {' | '.join(straight)} |"


def main() -> None:
    """Print a table for each checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--data", default="sample")
    parser.add_argument("--images", type=int, default=200)
    options = parser.parse_args()
    images, _ = load_data(DataConfig(data=options.data)).val_subset(options.images)
    for path in options.checkpoints:
        print(
            f"\n{path}\n\n| layer | median of abs(cosine) | 99 % below | R² of {' | R² of '.join(ANGLES)} |"
        )
        print("| --- " * (3 + len(ANGLES)) + "|")
        for name, cosine in cosines(load_network(path), images):
            print(row(name, cosine))


if __name__ == "__main__":
    main()
