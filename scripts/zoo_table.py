"""Write docs/zoo.md: every network with its parameters and multiply-adds, counted on the meta device."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import decoupled_nets as dn
from decoupled_nets._files import write_text
from decoupled_nets.nn import DecoupledMixin

#: Number that a source gives, what it counts, and the source.
EXPECTED = {
    "cifar_resnet32": ("16.6M weights in 31 3×3 convolutions", "released code (TensorFlow)"),
    "modified_resnet18": ("41.9M weights in 18 convolutions", "released code (TensorFlow)"),
    "imagenet_resnet18": ("11,689,512 parameters", "torchvision"),
    "imagenet_vgg11": (
        "132,868,840 parameters with BatchNorm",
        "torchvision, whose convolutions have biases there",
    ),
    "imagenet_vgg16": (
        "138,365,992 parameters with BatchNorm",
        "torchvision, whose convolutions have biases there",
    ),
    "imagenet_googlenet": (
        "6,998,552 parameters without BatchNorm",
        "Caffe's model without auxiliary classifiers",
    ),
    "cnn9": ("ten convolutions of SphereNet's table", "SphereNet"),
}
ALIASES = {"cifar_cnn9", "resnet32"}
HEADER = """# Networks

`dn.create_model(name, num_classes, in_chans, operator=..., ...)` builds each with plain convolutions
(`"conv"`, the default) or decoupled ones; `dn.list_models("*cifar*")` finds those for 32² images. The two
twins start from the same weights. All take `width`, `batch_norm`, `relu`, `radius`, `weighting`, `features`,
`drop_rate`, `padding`, `features_only` and `out_indices`: `help(decoupled_nets.models.build)`. `resnet32` and
`cifar_cnn9` are second names of `cifar_resnet32` and `cnn9`, and `imagenet_` may be left out: timm has
networks of those names, and keeps them. Classifiers, hidden linear layers and 1×1
shortcuts are always plain.

The released recipes `cifar_resnet32` and `modified_resnet18` pad as TensorFlow's SAME does, bottom and right
at a stride of 2; `padding="symmetric"` is PyTorch's way. Their BatchNorms have an epsilon of 1e-3.

Parameters with 1000 classes (224²) or 10 (32²), 3 input channels and BatchNorm; a decoupled twin with a
learned radius has one more a kernel. Multiply-adds of one image are those of convolutions and linear
layers, counted by `torch.utils.flop_counter`; norms, magnitudes and angles are not counted. Written by
`scripts/zoo_table.py`.

"""
COLUMNS = (
    "Network", "Image", "Decoupled layers", "Weights in them", "Parameters, plain", "decoupled",
    "plain without BN", "Multiply-adds",
)  # fmt: skip


def on_meta(name: str, **options: Any) -> Any:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return dn.create_model(name, **options)


def parameters(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


def multiply_adds(model: Any, size: int) -> int:
    """Of one image, half of the floating point operations that torch counts."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.eval()(torch.empty(1, 3, size, size, device="meta"))
    return counter.get_total_flops() // 2


def row(name: str) -> str:
    """One line of the table."""
    plain = on_meta(name)
    size = plain.default_cfg["input_size"][-1]
    classes = 1000 if size == 224 else 10
    plain, twin = (on_meta(name, num_classes=classes, operator=o) for o in ("conv", "tanh-cos"))
    bare = on_meta(name, num_classes=classes, batch_norm=False)
    layers = [m for m in twin.modules() if isinstance(m, DecoupledMixin)]
    cells = [
        f"`{name}`", f"{size}²", str(len(layers)), f"{sum(m.weight.numel() for m in layers):,}",
        f"{parameters(plain):,}", f"{parameters(twin):,}", f"{parameters(bare):,}",
        f"{multiply_adds(plain, size) / 1e6:,.0f}M",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def page() -> str:
    """The whole page."""
    names = [n for n in dn.list_models() if n not in ALIASES and not n.startswith("ddf_")]
    text = f"{HEADER}| {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * (len(COLUMNS) - 1)}\n"
    text += "".join(row(name) for name in names)
    text += "\n## Where expected numbers come from\n\n| Network | Expected | Source |\n| --- | --- | --- |\n"
    text += "".join(f"| `{name}` | {what} | {source} |\n" for name, (what, source) in EXPECTED.items())
    return text + "\nThe tests hold the networks to these numbers.\n"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "zoo.md")
    path = write_text(parser.parse_args().out, page())
    print(f"Written to {path}")


if __name__ == "__main__":
    main()
